//! How many different values there are: exact while they are few, an estimate in fixed space beyond.

use std::collections::HashSet;

/// Most values that are counted exactly once a value has come twice.
const EXACT_MAX: usize = 10_000;
/// Most values that are counted exactly while none has come twice, which is what a key looks like.
const UNIQUE_MAX: usize = 200_000;
/// Registers of the estimate; its error is about 1.6 %.
const REGISTERS: usize = 4096;
/// Bits of a hash that choose the register.
const BITS: u32 = 12;
/// The share of different values from which a field counts as unique beyond exact counting.
const UNIQUE_SHARE: f64 = 0.97;

/// Counts different values by their hashes.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    exact: HashSet<u64>,
    /// The greatest number of leading zeros by register, once there are too many to count.
    registers: Vec<u8>,
    values: u64,
    repeated: bool,
}

impl Distinct {
    pub(super) fn add(&mut self, hash: u64) {
        self.values += 1;
        if self.registers.is_empty() {
            self.repeated |= !self.exact.insert(hash);
            let most = if self.repeated { EXACT_MAX } else { UNIQUE_MAX };
            if self.exact.len() > most {
                self.registers = vec![0; REGISTERS];
                for hash in std::mem::take(&mut self.exact) {
                    self.register(hash);
                }
            }
        } else {
            self.register(hash);
        }
    }

    /// Takes over what another one has counted.
    pub(super) fn absorb(&mut self, other: Distinct) {
        let values = self.values + other.values;
        self.repeated |= other.repeated;
        if !other.registers.is_empty() && self.registers.is_empty() {
            self.registers = vec![0; REGISTERS];
            for hash in std::mem::take(&mut self.exact) {
                self.register(hash);
            }
        }
        for (own, zeros) in self.registers.iter_mut().zip(other.registers) {
            *own = (*own).max(zeros);
        }
        for hash in other.exact {
            self.add(hash);
        }
        self.values = values;
    }

    /// How many there are, and whether that is exact.
    pub(super) fn count(&self) -> (u64, bool) {
        if self.registers.is_empty() {
            return (self.exact.len() as u64, true);
        }
        let m = REGISTERS as f64;
        let sum: f64 = self
            .registers
            .iter()
            .map(|zeros| (-f64::from(*zeros)).exp2())
            .sum();
        let estimate = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
        let empty = self.registers.iter().filter(|zeros| **zeros == 0).count();
        let estimate = if estimate < 2.5 * m && empty > 0 {
            m * (m / empty as f64).ln()
        } else {
            estimate
        };
        ((estimate.round() as u64).min(self.values), false)
    }

    /// Whether no value has come twice, as far as can be told.
    pub(super) fn is_unique(&self) -> bool {
        let (count, exact) = self.count();
        !self.repeated
            && self.values > 0
            && (exact || count as f64 >= self.values as f64 * UNIQUE_SHARE)
    }

    fn register(&mut self, hash: u64) {
        let at = (hash >> (64 - BITS)) as usize;
        let zeros = ((hash << BITS) | 1 << (BITS - 1)).leading_zeros() as u8 + 1;
        self.registers[at] = self.registers[at].max(zeros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::profile::column::hash;

    #[test]
    fn few_are_counted_and_many_estimated() {
        let mut few = Distinct::default();
        for number in 0..3000_u32 {
            few.add(hash(&(number % 1000).to_le_bytes()));
        }
        assert_eq!(few.count(), (1000, true));
        assert!(!few.is_unique());
        let mut many = Distinct::default();
        for number in 0..400_000_u32 {
            many.add(hash(&number.to_le_bytes()));
        }
        let (count, exact) = many.count();
        assert!(!exact && (380_000..=400_000).contains(&count), "{count}");
        assert!(many.is_unique());
    }
}
