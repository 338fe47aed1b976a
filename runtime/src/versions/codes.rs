//! What each code of contract versions means, for `lockstep explain`.

/// What a target on a version that nobody knows is reported under.
pub const UNKNOWN_VERSION: &str = "LS-E008";

/// Code → what it means, then what to check and what is safe to do.
pub const CODES: &[(&str, &str)] = &[
    (
        "LS-E005",
        "The log has run this version of the contract with other contents. Events name the version that they are of, so a version never changes once it ran.\n\
         Check: what was changed in the contract's file since (`lockstep contract diff`).\n\
         Safe: raise `version` in the file, or restore the file; nothing was started.",
    ),
    (
        "LS-E006",
        "The log has run a newer version of the contract than the file's. Going back would lose what the newer version brought.\n\
         Check: that the right file is deployed here.\n\
         Safe: deploy the newer file, or accept the older one with `[versions] accept_older = { ENTITY = \"VERSION\" }`; events of the newer version are then brought down to it, where its migrations allow.",
    ),
    (
        "LS-E007",
        "A system no longer fits its contract, and the policy for that is `fail`.\n\
         Check: `lockstep contract drift` names each field with the reason and the cure.\n\
         Safe: mend the table, the mapping or the contract and start again; positions and progress stay where they are.",
    ),
    (
        UNKNOWN_VERSION,
        "A target is said to be on an older version of the contract that nobody knows here: the log has not run it, and it is not among the contract's releases.\n\
         Check: the version in `[flows.NAME.versions]`, the versions that the log has run, and `releases/` beside the contract.\n\
         Safe: name a version that ran or was released, or leave the target on the contract's own version.",
    ),
];
