//! What each code of the configuration means, for `lockstep explain`.

/// Code → what it means, then what to check and what is safe to do.
pub const CODES: &[(&str, &str)] = &[
    (
        "LS-G001",
        "The configuration file cannot be read.\n\
         Check: the path given with `-c` or in LOCKSTEP_CONFIG, and that the file is readable UTF-8 text.\n\
         Safe: nothing was started or changed; run the command again with the right path.",
    ),
    (
        "LS-G002",
        "The configuration is not TOML.\n\
         Check: the marked place for a missing quote, bracket or value, or a key written twice; one mistake can show up a line later.\n\
         Safe: nothing was started or changed. The rest of the file is judged only once it parses.",
    ),
    (
        "LS-G003",
        "A key is not known at this place.\n\
         Check: its spelling, and whether it stands in the right table; a key after a `[table]` header belongs to that table.\n\
         Safe: remove the key if nobody needs it. Unknown keys are refused because a misspelt limit would otherwise silently not apply.",
    ),
    (
        "LS-G004",
        "A value has the wrong type.\n\
         Check: texts stand in quotes, numbers and `true`/`false` do not, lists stand in `[…]`.\n\
         Safe: change the value; nothing was started.",
    ),
    (
        "LS-G005",
        "A key that must be there is missing.\n\
         Check: the help line names the key and what it is for.\n\
         Safe: add it; nothing was started.",
    ),
    (
        "LS-G006",
        "No connector of this name is built into this binary.\n\
         Check: `lockstep connectors list` shows the ones that are; a private connector needs a binary that registers it.\n\
         Safe: mend the name, or use the binary that has the connector.",
    ),
    (
        "LS-G007",
        "The connector has no setting of this name.\n\
         Check: `lockstep connectors schema NAME` shows all settings.\n\
         Safe: mend or remove the setting.",
    ),
    (
        "LS-G008",
        "A value has the right type but is not one that can be used: a length of time, a size, an address, a listed word or a number out of range.\n\
         Check: the help line says what is accepted. The API listens on this machine only.\n\
         Safe: change the value; nothing was started.",
    ),
    (
        "LS-G009",
        "A system or flow has a name that cannot stand in subjects and file names.\n\
         Check: only letters, digits, `_` and `-` are used.\n\
         Safe: rename it before the first start. Renaming one that already ran makes it a new one, read from the beginning.",
    ),
    (
        "LS-G011",
        "A `${NAME}` refers to an environment variable that is not set.\n\
         Check: the variable's name, and the environment of the service that starts Lockstep, which is not that of your shell.\n\
         Safe: set the variable and start again. An empty variable counts as set.",
    ),
    (
        "LS-G012",
        "A `${file:path}` refers to a file that cannot be read.\n\
         Check: the path (relative ones start at the configuration's folder) and the permissions of the user that runs Lockstep.\n\
         Safe: create or mount the file and start again; line feeds at its end are ignored.",
    ),
    (
        "LS-G013",
        "A `${…}` is not complete or names neither a variable nor a file.\n\
         Check: it reads `${NAME}` with letters, digits and `_`, or `${file:path}`.\n\
         Safe: write `$${` where a plain `${` is meant.",
    ),
    (
        "LS-G014",
        "A flow names a system that the configuration does not have.\n\
         Check: the spelling against the `[systems.…]` headers.\n\
         Safe: mend the name, or add the system.",
    ),
    (
        "LS-G015",
        "A flow or mapping names an entity that has no contract.\n\
         Check: the spelling, and that the contract's file lies in the contracts folder and ends in `.odcs.yaml`.\n\
         Safe: mend the name, or add the contract.",
    ),
    (
        "LS-G016",
        "A mapping names a value map that the configuration does not have.\n\
         Check: the spelling against the `[values.…]` headers.\n\
         Safe: mend the name, or add the value map.",
    ),
    (
        "LS-G017",
        "A flow reads an entity from a system that has no mapping for it.\n\
         Check: that `[systems.SYSTEM.map.ENTITY]` exists for the flow's `from`.\n\
         Safe: add the mapping; `lockstep map try SYSTEM ENTITY` shows it on live rows.",
    ),
    (
        "LS-G018",
        "A flow writes an entity to a system that has no mapping for it.\n\
         Check: that `[systems.SYSTEM.map.ENTITY]` exists for each system in the flow's `to`.\n\
         Safe: add the mapping, or take the system out of `to`.",
    ),
    (
        "LS-G019",
        "A flow would write a system's own records back to it.\n\
         Check: `from` and `to` of the flow.\n\
         Safe: remove the source from `to`.",
    ),
    (
        "LS-G020",
        "An entity is brought to the same system twice.\n\
         Check: `to` of the flows named; two deliveries of one entity would overtake each other.\n\
         Safe: remove the target from one of them.",
    ),
    (
        "LS-G021",
        "A flow has no target.\n\
         Check: `to` of the flow.\n\
         Safe: name a system, or remove the flow.",
    ),
    (
        "LS-G022",
        "Two flows read the same entity from different systems.\n\
         Check: which system owns the entity by its contract; that one should be the only `from`.\n\
         Safe: remove one of the two flows. Several writers of one entity are not supported in this version.",
    ),
    (
        "LS-G023",
        "The contracts, or one of them, cannot be read, or there is none.\n\
         Check: `contracts` in the configuration (a relative path starts at the configuration's folder), the names (`*.odcs.yaml`) and the permissions.\n\
         Safe: mend the path; nothing was started.",
    ),
    (
        "LS-G024",
        "Two contract files describe the same entity.\n\
         Check: whether an older version was left in the folder.\n\
         Safe: move the older one out of the folder. Lockstep does not guess which one holds.",
    ),
    (
        "LS-G025",
        "A flow asks of a connector what it does not offer.\n\
         Check: `lockstep connectors list` shows which connectors are sources, sinks and readers.\n\
         Safe: change the flow, or the connector of the system.",
    ),
    (
        "LS-G027",
        "A secret is written out in the configuration.\n\
         Check: who can read the file, and whether it is in version control.\n\
         Safe: write `${NAME}` or `${file:path}` instead, and change the secret if others may have seen it.",
    ),
    (
        "LS-G028",
        "Something in the configuration is used by no flow.\n\
         Check: whether a flow is missing or a name is misspelt.\n\
         Safe: leave it, or remove it; it has no effect.",
    ),
    (
        "LS-G040",
        "An inbox needs a log that other programs can publish to, and the embedded log is a file of this process.\n\
         Check: `engine` in `[log]`.\n\
         Safe: set `engine = \"nats\"`; until then nothing can come in, and everything else runs.",
    ),
    (
        "LS-P001",
        "A system cannot be reached.\n\
         Check: that it runs, that its address is reachable from this machine, and that user and password are right.\n\
         Safe: run `lockstep check` again at any time; it changes nothing. A running Lockstep keeps trying and loses nothing meanwhile.",
    ),
    (
        "LS-P002",
        "A system cannot do what the configuration asks: a setting does not fit, a table is missing or has no key, or a feature is not there.\n\
         Check: the message and its help; a marked `table` names what the system does not have.\n\
         Safe: mend the configuration or the system and check again; nothing was started.",
    ),
    (
        "LS-P003",
        "A source's own check found something that keeps it, or may keep it, from being observed.\n\
         Check: the help line, written by the connector.\n\
         Safe: `lockstep check` changed nothing; do what the help says and check again.",
    ),
    (
        "LS-P004",
        "A target's own check found something that keeps it, or may keep it, from being written.\n\
         Check: the help line, written by the connector; often a unique key or a permission is missing.\n\
         Safe: `lockstep check` changed nothing; do what the help says and check again.",
    ),
    (
        "LS-P005",
        "The folder of the log cannot be written, or cannot be made where it is missing.\n\
         Check: `log.path` (a relative path starts at the configuration's folder), the permissions and the free space.\n\
         Safe: mend the permissions. Do not point a configuration that already ran at an empty log: every system would be read from the beginning.",
    ),
    (
        "LS-P006",
        "The log is held by a running Lockstep.\n\
         Check: the process named in the message.\n\
         Safe: leave it running; a second runtime on the same log refuses to start.",
    ),
    (
        "LS-P008",
        "The log's servers cannot do what is needed: they are too old, take too small messages, have too little room, or are too few.\n\
         Check: the version (2.15 or newer), `max_payload` (1 MB or more), the account's limits, and `replicas` against the number of servers.\n\
         Safe: `lockstep check` changed nothing; mend the servers or the configuration and check again.",
    ),
    (
        "LS-P009",
        "The log's server acknowledges before its disk holds the message, or nobody can see whether it does.\n\
         Check: `sync_interval` in the server's `jetstream` block; the default is two minutes. `log.monitor` names where it can be seen.\n\
         Safe: with `sync_interval: always` nothing that was acknowledged is lost with the power; frames make it cheap. Without it, a power failure may take the last seconds, on a cluster only where most servers fail together.",
    ),
    (
        "LS-P010",
        "The clock of the log's server and that of this machine differ.\n\
         Check: `timedatectl` or `chronyc tracking` on both; one of them is wrong.\n\
         Safe: order and completeness do not depend on clocks. What does: how long messages and leases are kept where servers of a cluster differ, and the lag and times that are shown. From about an hour on nothing is started.",
    ),
    (
        "LS-P007",
        "The file where the log should stand is none: it is damaged from its first bytes on, or another program's.\n\
         Check: that `log.path` names the right file; the disk's health.\n\
         Safe: move the file away and start again: every source is read anew, and rows that are equal already are not written again.",
    ),
    (
        "LS-P011",
        "A flow reads a table that another flow writes, and brings it to a system that does not hear the other flow.\n\
         Check: whether the records are to go on to that system. What Lockstep writes is marked and left out when the table is read, so that nothing goes in circles; the second flow brings only what others write there.\n\
         Safe: add the system to the `to` of the first flow, or read from another table. It is a warning where a filter of the reading mapping may keep the two apart.",
    ),
    (
        "LS-P012",
        "A Lockstep that runs now holds a flow, or cannot move it, though the configuration is sound.\n\
         Check: the reason in the message, and `lockstep status`; a lost slot or a table that changed shows only there.\n\
         Safe: do what the reason says; the flow goes on from where it stands, and nothing is lost meanwhile.",
    ),
    (
        "LS-G042",
        "A flow asks for whole transactions of a source that does not tell them.\n\
         Check: the connector of the source; PostgreSQL tells where transactions end, SQLite files, inboxes and others do not.\n\
         Safe: leave `consistency` out; every record arrives by itself then, in its order, and the target has all of them once it has come to rest.",
    ),
    (
        "LS-G043",
        "A flow asks for whole transactions and for a mode that collects changes or waits for a time.\n\
         Check: `mode` and `consistency` of the flow; transactions are applied as they come, because several flows share them.\n\
         Safe: leave out one of the two.",
    ),
    (
        "LS-G044",
        "A flow copies rows past the log (`snapshot = \"direct\"`), and something else needs them in the log.\n\
         Check: the reason in the message. Such a flow is the only one of its entity, has one target, applies changes as they come, each by itself, and its source is read by its own log of changes.\n\
         Safe: leave `snapshot` out; the rows go through the log then. A flow that was `direct` before may get further targets at any time: what they lack is read again.",
    ),
    (
        "LS-G045",
        "A mapping says `link`, and the record that it names cannot be found by it.\n\
         Check: the message. A link names an entity that the same system maps; that entity's key is one field, mapped to a plain column; the system's table has one column that is its own id; a linked column is no part of a key; and the system is read by query, not by a log of changes.\n\
         Safe: leave `link` out where the column holds the entity's own key already.",
    ),
    (
        "LS-P013",
        "A table that a flow writes is not there, and the system says `create_tables = true`: it will be made from the contract when the flow starts.\n\
         Check: the columns in the message; types, key and NOT NULL come from the contract through the mapping.\n\
         Safe: start, or make the table yourself first. A table that is there is never altered by this, and one that was filled before is never made again: its flow is held instead.",
    ),
];
