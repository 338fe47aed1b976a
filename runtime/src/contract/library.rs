//! The shared types of a folder of contracts, read from the disk when a contract names them.
//!
//! Owns that nothing outside the folder is read, by a link either.

use std::path::{Path, PathBuf};

use lockstep_core::contract::Library;
use lockstep_core::contract::load::CONTRACT_BYTES_MAX;

use super::files::{CONTRACT, Root, reason};

/// The shared types of a folder.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The types of the contracts in this folder.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Folder {
        Folder { root: root.into() }
    }

    /// The types that a contract's file shares with others of its folder of contracts; without the file there are none.
    #[must_use]
    pub fn of(file: &Path) -> Folder {
        let root = Root::of(file).map_or_else(|_| ".".to_owned(), |root| root.shown);
        Folder::new(root)
    }
}

impl Library for Folder {
    fn text(&self, reference: &str) -> Result<(String, String), String> {
        // The reference has letters, digits, `-`, `_` and `/` only, so it cannot lead out by itself.
        let path = self.root.join(format!("{reference}{CONTRACT}"));
        let shown = path.display().to_string();
        let real = |path: &Path| {
            std::fs::canonicalize(path).map_err(|error| format!("`{shown}`: {}", reason(&error)))
        };
        if !real(&path)?.starts_with(real(&self.root)?) {
            return Err(format!(
                "`{shown}` leads out of the folder of the contracts"
            ));
        }
        let size = std::fs::metadata(&path)
            .map_err(|error| format!("`{shown}`: {}", reason(&error)))?
            .len();
        // What is larger is refused by its size; it need not be held for that.
        if size > 2 * CONTRACT_BYTES_MAX as u64 {
            return Err(format!("`{shown}` has {size} bytes"));
        }
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|error| format!("`{shown}`: {}", reason(&error)))?;
        Ok((text, shown))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use lockstep_core::contract::{self, Inner};

    use super::*;

    const ADDRESS: &str = "\
apiVersion: v3.1.0
kind: DataContract
id: address
version: 1.0.0
status: active
schema:
  - name: address
    properties:
      - {name: street, logicalType: string, required: true}
";
    const THING: &str = "\
apiVersion: v3.1.0
kind: DataContract
id: thing
version: 1.0.0
status: active
schema:
  - name: thing
    customProperties: [{property: lockstep.owner, value: erp}]
    properties:
      - {name: id, logicalType: string, primaryKey: true, required: true}
      - {name: home, logicalType: object, customProperties: [{property: lockstep.type, value: types/address}]}
";

    #[test]
    fn types_are_read_below_the_folder_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("contracts");
        fs::create_dir_all(root.join("types")).unwrap();
        let library = Folder::new(&root);
        let missing = contract::load("thing", THING, &library).unwrap_err();
        assert_eq!(missing[0].code, "LS-C038");
        assert!(
            missing[0].message.contains("address.odcs.yaml"),
            "{missing:?}"
        );

        fs::write(root.join("types/address.odcs.yaml"), ADDRESS).unwrap();
        let loaded = contract::load("thing", THING, &library).unwrap();
        let inner = loaded.contract.fields[1].inner.as_ref().unwrap();
        assert!(matches!(inner, Inner::Object { fields, .. } if fields[0].name == "street"));
        let place = loaded.places.at("/fields/home/fields/street").unwrap();
        assert!(place.file.ends_with("address.odcs.yaml"));
        assert_eq!(place.line, 9);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_out_of_the_folder_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("contracts");
        fs::create_dir_all(root.join("types")).unwrap();
        let outside = folder.path().join("outside.yaml");
        fs::write(&outside, ADDRESS).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("types/address.odcs.yaml")).unwrap();
        let found = contract::load("thing", THING, &Folder::new(&root)).unwrap_err();
        assert!(
            found[0].message.contains("leads out of the folder"),
            "{found:?}"
        );
    }
}
