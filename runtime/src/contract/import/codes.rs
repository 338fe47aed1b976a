//! The codes of everything that can be said about an import.

/// Every code with what it means and what to do about it; `lockstep explain CODE` prints it.
pub const CODES: &[(&str, &str)] = &[
    (
        "LS-I101",
        "What is to be imported cannot be read as a text: it is larger than 4 MiB or not UTF-8. Import the part that describes one entity, saved as UTF-8.",
    ),
    (
        "LS-I102",
        "The text is not in the form that it is imported as (JSON, Avro, YAML, SQL or CSV). Mend it at the place shown, or name the form that it has.",
    ),
    (
        "LS-I103",
        "The text describes more than a contract may hold: more than 1000 fields, or documents nested deeper than 16. Import a part of it.",
    ),
    (
        "LS-I104",
        "A reference leads nowhere, to another file or server, or back to itself. Nothing is ever fetched: put the definition into the same file, and cut a circle by describing its inside as any document.",
    ),
    (
        "LS-I105",
        "The text describes no record, or several where one was asked for. Name the one that is meant with `--entity`.",
    ),
    (
        "LS-I106",
        "What identifies a record was not said, so a guess stands in the contract. Say it with `--key a,b`, or mend `primaryKey` in the file.",
    ),
    (
        "LS-I107",
        "A name cannot stand in subjects and expressions, so it was changed: letters, digits and `_`, beginning with a letter, at most 64 characters. Map the old name to the new one where the system is configured.",
    ),
    (
        "LS-I108",
        "A part of the source says what a contract cannot say, so it is not checked. Read the comment in the contract; often a rule (`quality`) or a field of its own says the same.",
    ),
    (
        "LS-I109",
        "The file follows a version of the Open Data Contract Standard that is not read. Bring a v2 file to v3 first: `datasetDomain` and `quantumName` become `domain` and `name`, `dataset` becomes `schema`, `columns` becomes `properties`.",
    ),
    (
        "LS-I110",
        "A type has no exact counterpart, so the nearest one that loses nothing was taken. Look at the field before the contract is released.",
    ),
    (
        "LS-I111",
        "The file is there already and is never overwritten. Choose another with `--out`, write to standard output with `--out -`, or remove it.",
    ),
    (
        "LS-I112",
        "What came out does not load as a contract. The findings beside this one say why; they can be mended in the text that was written.",
    ),
    (
        "LS-I113",
        "A type or bound was inferred from sample data. It holds for every row that was looked at; whether it always holds is for somebody who knows the data to say.",
    ),
    (
        "LS-I114",
        "A field reads as if it were about a person, so it was classified as personal. Confirm it, or set another `classification`.",
    ),
    (
        "LS-I115",
        "The same name stands twice in one object of the text. Keep one of them.",
    ),
    (
        "LS-I116",
        "A foreign key names a table, and a contract refers to an entity. Where no contract here is of that table the reference was left out; where one seems to be, it was taken. Import the other table, too, and write `relationships: [{to: ENTITY.PROPERTY}]`; a contract's `physicalName` and the mappings of lockstep.toml say which table an entity stands in.",
    ),
];
