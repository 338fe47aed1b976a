//! The codes of everything that can be wrong with a contract.

/// Every code with what it means and what to do about it; `lockstep explain CODE` prints it.
pub const CODES: &[(&str, &str)] = &[
    (
        "LS-C001",
        "The contract's text is larger than 1 MiB. Describe one entity per file and keep long texts elsewhere.",
    ),
    (
        "LS-C002",
        "The text is not readable as YAML, or it nests or repeats itself beyond the limits. Mend the indentation, quotes, anchors or aliases at the place shown.",
    ),
    (
        "LS-C003",
        "A key or a Lockstep property stands twice in one place. Keep one of them.",
    ),
    (
        "LS-C004",
        "A value is of the wrong kind, such as a number where a text is needed. Write the kind that the message names; quote texts that look like numbers.",
    ),
    (
        "LS-C005",
        "The Open Data Contract Standard v3 knows no such key here. Mend the spelling, or put an addition into `customProperties`.",
    ),
    ("LS-C006", "A key that must be there is missing. Add it."),
    (
        "LS-C007",
        "`apiVersion` or `kind` is not one that Lockstep reads. Write `apiVersion: v3.1.0` (v3.0.0 to v3.2.0 are read) and `kind: DataContract`.",
    ),
    (
        "LS-C008",
        "The contract's version is not a semantic version. Write three numbers, such as `1.0.0`.",
    ),
    (
        "LS-C009",
        "A contract file describes exactly one entity, with at least one property and at most 1000. Split the file, or complete its `schema`.",
    ),
    (
        "LS-C010",
        "A name cannot be used in subjects and expressions. Use letters, digits and `_`, beginning with a letter, at most 64 characters, and none of true, false, null and in.",
    ),
    (
        "LS-C011",
        "Two properties have one name. Rename one of them.",
    ),
    (
        "LS-C012",
        "There is no such `lockstep.*` property. Mend the spelling; the message names the nearest known one.",
    ),
    (
        "LS-C013",
        "A `lockstep.*` property stands where it has no meaning, or both on the contract and on its schema object. Move it to the place that the message names.",
    ),
    (
        "LS-C014",
        "A word is not one of those that may stand here. Take one from the message's list.",
    ),
    (
        "LS-C015",
        "No system is named as the owner, so nobody is right where systems differ. Add `lockstep.owner` to the schema object.",
    ),
    (
        "LS-C016",
        "A property has no logical type, or one that Lockstep cannot carry. Set `logicalType` to one that the message names.",
    ),
    (
        "LS-C017",
        "A number must say how exact it is. Add `physicalType: decimal(precision,scale)` for exact numbers such as money, or `physicalType: double` for measurements.",
    ),
    (
        "LS-C018",
        "A physical type that fixes the value's form (decimal, double, uuid, bytes) is malformed or does not fit the logical type. Use decimal(p,s) and double with number, uuid and bytes with string; p is 1 to 100 and s at most p.",
    ),
    (
        "LS-C019",
        "A type option does not fit the property's type or cannot be checked exactly. Remove it, or use the option that the message names.",
    ),
    (
        "LS-C020",
        "A pattern uses what Lockstep and other validators do not read alike, such as look-around, back references or inline flags, or it does not compile. Write it in the common part of regular expressions.",
    ),
    (
        "LS-C021",
        "Bounds cross or contradict each other, so that no value can satisfy them. Mend one of them.",
    ),
    (
        "LS-C022",
        "A bound, an allowed value or a default is not a value of the property's type. Write it in the type's form; quote texts and dates.",
    ),
    (
        "LS-C023",
        "The list of allowed values is empty, repeats a value, holds one that the property's own limits refuse, or is written twice. Mend the list.",
    ),
    (
        "LS-C024",
        "The default is a value that the contract itself refuses. Choose one that satisfies type, limits and allowed values.",
    ),
    (
        "LS-C025",
        "No property is marked as the key, so records cannot be told apart. Set `primaryKey: true` on what identifies a record.",
    ),
    (
        "LS-C026",
        "A key property may be absent or null. Set `required: true` and do not make it nullable.",
    ),
    (
        "LS-C027",
        "A property of this type cannot be part of the key: two equal values may look different. Use a text, integer, decimal, date, timestamp, UUID or bytes.",
    ),
    (
        "LS-C028",
        "The positions of the key's properties are not 1, 2, 3 … each once. Number all of them, or none to use their order in the file.",
    ),
    (
        "LS-C029",
        "`lockstep.laneKey` must name properties of the key, each once: changes of one record have to stay in one lane. Name a part of the key.",
    ),
    (
        "LS-C030",
        "The number of lanes is not between 1 and 256. Eight are right for nearly everything.",
    ),
    (
        "LS-C031",
        "The classification is not one that Lockstep enforces. Use public, internal, personal (or confidential) or secret (or restricted).",
    ),
    (
        "LS-C032",
        "`lockstep.privacy` is malformed, names no property as `subject`, or hides a key property from a system that needs it. Write `{category: contact, subject: customer_id, retention: 7y, systems: {name: clear|mask|hash|tokenize|encrypt|drop}}`.",
    ),
    (
        "LS-C033",
        "A rule's expression does not compile. It is CEL over the contract's properties by name and must give true or false.",
    ),
    (
        "LS-C034",
        "A rule has no name, or one that another rule has. Give each `name` or `id`; quarantine reasons show it.",
    ),
    (
        "LS-C035",
        "A part of the contract is documentation only: Lockstep does not check it. Where it matters, write it as a pattern, a limit or a rule with `engine: cel` or `engine: lockstep`.",
    ),
    (
        "LS-C036",
        "There are more findings than are shown. Mend the first ones and check again.",
    ),
    (
        "LS-C037",
        "The truth word does not fit the property's type: `delta` adds numbers, `union` joins lists, `max` and `min` need an order. Choose another.",
    ),
    (
        "LS-C038",
        "A shared type cannot be read. `lockstep.type` names `types/<name>`, which is the file `types/<name>.odcs.yaml` in the folder of the contracts, with one schema object; nothing outside that folder is read. Mend the name or add the file.",
    ),
    (
        "LS-C039",
        "Shared types lead back to themselves or stand too deep inside each other, documents nest too deep, or the contract grows beyond its limits once they are written out. Take a level out, or make the part an entity of its own.",
    ),
    (
        "LS-C040",
        "A property and the shared type it names contradict each other. Leave limits, allowed values and members to the type, and give the property the type's logical type.",
    ),
    (
        "LS-C041",
        "A rule is malformed, names a property that is not there, or asks what has no meaning for the property's type. Write one check for each rule, with values of the property's type.",
    ),
    (
        "LS-C042",
        "An outcome cannot stand here. A rule may pass, warn, quarantine, reject or halt; a property's own type and bounds quarantine, reject or halt; a rule on all records together passes, warns or halts. Choose one of these.",
    ),
    (
        "LS-C043",
        "A document is less protected than what stands inside it, though it is shown or hidden as a whole. Give the property the strictest `classification` of its members.",
    ),
    (
        "LS-C044",
        "A migration is malformed. Write `{from: 1.0.0, to: 1.1.0, up: [steps], down: [steps]}` with steps rename, set, map, compute and drop; `down` may be left out where every step can be turned round. `to` is a released version, the contract's own, or the one that the next release makes: `lockstep contract release` then writes it into `version`.",
    ),
    (
        "LS-C045",
        "`lockstep.deprecation` is malformed. Write `{since: 1.2.0, sunset: 2026-12-31, replacement: other_name}`; each part may be left out.",
    ),
    (
        "LS-C046",
        "`lockstep.reserved` is malformed, or a property has a reserved name. Name the property otherwise: readers of older versions know the old one under that name.",
    ),
    (
        "LS-C047",
        "A lock file cannot be read, or a newer Lockstep wrote it. Restore it as it was released, or use a newer version.",
    ),
    (
        "LS-C048",
        "A lock file was edited after it was written: released versions stay as they are. Restore the file and release the change as a new version.",
    ),
    (
        "LS-C049",
        "The text cannot be edited or laid out without the danger of changing what it says: anchors, aliases, or an unusual layout stand in the way. Edit it by hand, or write the place in plain block style.",
    ),
    (
        "LS-C050",
        "A relationship or an `exists` rule refers to an entity, or a property of one, that no contract of the folder has: every record would wait for what never comes, or be judged by nothing. Write the entity's and the property's own names (not those of a table), add the contract that is missing, or take the reference out.",
    ),
    (
        "LS-C051",
        "A property refers to one of another type, so whether two values are the same depends on who compares them. Give both the same type, or refer to another property.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_numbered_without_gaps_and_each_says_what_to_do() {
        for (i, (code, text)) in CODES.iter().enumerate() {
            assert_eq!(*code, format!("LS-C{:03}", i + 1));
            assert!(
                text.ends_with('.') && text.matches(". ").count() >= 1,
                "{code}"
            );
        }
    }
}
