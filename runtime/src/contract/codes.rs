//! What each code about contract files, Git and approvals means, for `lockstep explain`.

/// Code → what it means, then what to check and what is safe to do.
pub const CODES: &[(&str, &str)] = &[
    (
        "LS-K001",
        "The program `git` could not be run, so older versions of the contracts cannot be read.\n\
         Check: that Git is installed and on the PATH of whoever runs the command.\n\
         Safe: compare with a folder, a file or the releases instead: `--against releases` needs no Git.",
    ),
    (
        "LS-K002",
        "The contracts are not in a Git repository, or Git refuses to read it because it belongs to somebody else.\n\
         Check: the folder; where Git speaks of `safe.directory`, add the folder there as Git's message says.\n\
         Safe: `--against releases`, a folder or a file need no Git.",
    ),
    (
        "LS-K003",
        "The revision to compare with is not known to this clone.\n\
         Check: its spelling. A build server often fetches one commit of one branch only: the help line is the command that fetches the rest.\n\
         Safe: fetching adds history and changes no file.",
    ),
    (
        "LS-K004",
        "The two revisions have no common ancestor in this clone, most often because it is shallow.\n\
         Check: run the command of the help line, or let the build server fetch everything (`fetch-depth: 0`).\n\
         Safe: fetching adds history and changes no file. `--tip` compares with the revision itself and needs no ancestor.",
    ),
    (
        "LS-K005",
        "An older version of a contract is not in this clone, because it was cloned without file contents.\n\
         Check: run the command of the help line. Lockstep itself never fetches.\n\
         Safe: fetching adds history and changes no file.",
    ),
    (
        "LS-K006",
        "Git ended with an error that Lockstep does not know.\n\
         Check: the message is Git's own; the same command by hand says more.\n\
         Safe: Lockstep only reads; nothing was changed.",
    ),
    (
        "LS-K007",
        "There is no contract at the paths given or at the usual places.\n\
         Check: contracts end in `.odcs.yaml`; without PATHS, the folder that lockstep.toml names, `contracts`, `schemas/contracts` and `schemas` are looked at.\n\
         Safe: name the folder or the file; nothing was done.",
    ),
    (
        "LS-K008",
        "A file cannot be read: it is too large, not UTF-8, or the system refuses.\n\
         Check: a contract has at most 1 MiB and is UTF-8 text; a release at most 8 MiB.\n\
         Safe: mend the file; all others were read.",
    ),
    (
        "LS-K009",
        "There are more contract files than can be read at once.\n\
         Check: the paths; a whole disk may have been named.\n\
         Safe: name the folder of the contracts.",
    ),
    (
        "LS-K010",
        "Two files hold the same contract, so nobody can say which one holds good; nothing is compared or released until that is clear.\n\
         Check: whether one is a copy; older versions are kept by `releases/`, not as second files.\n\
         Safe: delete one of them, or give it an id of its own.",
    ),
    (
        "LS-K011",
        "A release file does not belong where it stands: its name is not its version, or no contract has its id.\n\
         Check: releases stand in `releases/` beside the contract, named `<version>.lock.json`.\n\
         Safe: move it back, or restore the contract.",
    ),
    (
        "LS-K012",
        "An approval cannot be read or lacks something.\n\
         Check: it has exactly `fingerprint`, `rule`, `contract`, `reason`, `approvedBy`, `role` and `expires`, and the file is named after the fingerprint.\n\
         Safe: write it with `lockstep contract approve`; an unreadable approval excuses nothing.",
    ),
    (
        "LS-K013",
        "An approval has expired and excuses nothing any more.\n\
         Check: whether the change is released by now (then delete the approval) or must be approved again.\n\
         Safe: delete the file.",
    ),
    (
        "LS-K014",
        "An approval excuses nothing: no finding has its fingerprint.\n\
         Check: the change may have been altered after it was approved, or is part of the base by now.\n\
         Safe: delete the file.",
    ),
    (
        "LS-K015",
        "Whoever approved does not hold the role that the rule asks for.\n\
         Check: `team` in the contract: members with their role, as they stood before the change.\n\
         Safe: let somebody with the role approve.",
    ),
    (
        "LS-K016",
        "There is nothing to approve: no finding has this fingerprint, or its rule cannot be approved.\n\
         Check: `lockstep contract breaking` shows the fingerprint of each finding and the role that may approve it.\n\
         Safe: nothing was written.",
    ),
    (
        "LS-K017",
        "This version is published already, with another content.\n\
         Check: published versions never change; `--bump auto` finds the next free one.\n\
         Safe: nothing was written.",
    ),
    (
        "LS-K018",
        "The new version cannot be put into the contract's text, because it is not written there as a plain value.\n\
         Check: the line `version:` of the contract; an alias or a tag may stand there.\n\
         Safe: nothing was written; write the version by hand and release again.",
    ),
    (
        "LS-K019",
        "A configuration that should tell who receives an entity cannot be read.\n\
         Check: the path, and that it is TOML.\n\
         Safe: findings then name only the consumers that the contracts themselves list.",
    ),
    (
        "LS-K020",
        "A report, a release or an approval could not be written.\n\
         Check: the folder, its permissions, and the space on the disk.\n\
         Safe: mend it and run the command again; a release that was begun is taken up again.",
    ),
    (
        "LS-K021",
        "What to compare with cannot be used: it is both a file and a revision, or holds no contract.\n\
         Check: write `./name` for a file or folder, and `refs/heads/name` for a branch.\n\
         Safe: nothing was done.",
    ),
    (
        "LS-K022",
        "A release was refused because the contract has errors or breaks somebody.\n\
         Check: the other findings; mend them, or let them be approved.\n\
         Safe: nothing was written.",
    ),
    (
        "LS-K023",
        "The older text of a contract has errors, so the newer one could not be compared with it.\n\
         Check: what changed, by eye; `lockstep contract diff` needs both sides sound.\n\
         Safe: releases are compared all the same, and the next change is compared with the text as it is now.",
    ),
    (
        "LS-K024",
        "Two contracts describe one entity; Lockstep cannot run both.\n\
         Check: the names of the entities, and whether one contract is a copy of the other.\n\
         Safe: rename an entity, or move one of the contracts elsewhere.",
    ),
    (
        "LS-K025",
        "A release is gone: a later one, or a migration, names it, and its file is not in `releases/`. Old events are read by it, and comparisons would miss it.\n\
         Check: when the file went (`git log -- FILE`), and whether the later release was made on top of it.\n\
         Safe: bring the file back as it was; a release is never made again under its number.",
    ),
    (
        "LS-K026",
        "A file looks like a contract, and nobody reads it, because its name does not end in `.odcs.yaml`.\n\
         Check: whether it is meant to be a contract; small letters, and `yaml` in full.\n\
         Safe: rename it, or move it out of the folder.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_numbered_without_gaps_and_each_says_what_is_safe() {
        for (i, (code, page)) in CODES.iter().enumerate() {
            assert_eq!(*code, format!("LS-K{:03}", i + 1));
            assert!(
                page.contains("\nCheck: ") && page.contains("\nSafe: "),
                "{code}"
            );
        }
    }
}
