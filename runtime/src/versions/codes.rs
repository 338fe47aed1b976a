//! What each code of contract versions means, for `lockstep explain`.

/// What a target on a version that nobody knows is reported under.
pub const UNKNOWN_VERSION: &str = "LS-E008";

/// What an older major is reported under that is to be published, and cannot be.
pub const NO_WAY_DOWN: &str = "LS-E009";

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
        "A system no longer fits its contract, and the policy for that is `fail`: that flow ended, while the run went on or by its start, and everything else goes on.\n\
         Check: `lockstep contract drift` names each field with the reason and the cure.\n\
         Safe: mend the table, the mapping or the contract and start again; positions and progress stay where they are.",
    ),
    (
        UNKNOWN_VERSION,
        "A target is said to be on an older version of the contract that nobody knows here: the log has not run it, and it is not among the contract's releases.\n\
         Check: the version in `[flows.NAME.versions]`, the versions that the log has run, and `releases/` beside the contract.\n\
         Safe: name a version that ran or was released, or leave the target on the contract's own version.",
    ),
    (
        "LS-E011",
        "A target's table, or a column of it that is written, was dropped and made anew. What was applied before is not in it, and the source cannot be asked now to bring it again.\n\
         Check: whether the source's part runs (`lockstep status`); what programs publish to an inbox is not read again.\n\
         Safe: nothing; the source is asked again until it answers, and rows that are there already are not written again. For an inbox let the programs publish the state of their records again.",
    ),
    (
        NO_WAY_DOWN,
        "Subscribers of an older major of the contract are still to be served, because its sunset has not come or the configuration lists it; but records of the newest version cannot become records of it. They hear nothing new; `lockstep status` counts what they miss.\n\
         Check: the `down` steps of `lockstep.migrations` in the newest version.\n\
         Safe: write the steps that are missing, or take the major out of `[versions] publish_majors` once nobody subscribes to it. Nothing of ours waits for this.",
    ),
];
