"""A connector in Python, outside of the runtime: it says what a JSON file holds, and keeps settled records in SQLite.

    pip install nats-py
    python connector.py --state state.db --observe articles.json --system shop --entity article
    python connector.py --state state.db --hear account --durable my-program

Both may be said at once. Kill it at any moment and start it again: nothing is lost, and nothing is done twice.
It prints a JSON line for each verdict and for each message that it applied. See ../EVENTS.md.

The file is a list of records (`[{"id": "A-1", "stock": 3}]`); put the way to your own system in the place of
`rows_of` and of the table `records`, and keep what stands around them.
"""

import argparse
import asyncio
import hashlib
import json
import os
import sqlite3
import sys
import uuid
from urllib.parse import unquote

import nats
import nats.errors
import nats.js.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

# How much is fetched at once; what is behind a message that was not acknowledged waits for it.
BATCH = 64

SCHEMA = """
-- What the file held when it was looked at last.
CREATE TABLE IF NOT EXISTS seen (key TEXT PRIMARY KEY, data TEXT NOT NULL);
-- What is to be published, in its order, each under the id that makes trying again harmless.
CREATE TABLE IF NOT EXISTS outbox (no INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, event TEXT NOT NULL);
-- What was heard: the records, and how far each of them is; one without data is gone.
CREATE TABLE IF NOT EXISTS records (
    entity TEXT, key TEXT, lane TEXT NOT NULL, life TEXT NOT NULL, sequence TEXT NOT NULL, data TEXT,
    PRIMARY KEY (entity, key)
);
"""


def say(what):
    print(json.dumps(what), flush=True)


def warn(text):
    print(text, file=sys.stderr, flush=True)


# Observing: file → outbox → inbox of the log.


def rows_of(path, key):
    """The records of the file by their keys; none while somebody is in the middle of writing it."""
    try:
        with open(path, encoding="utf-8") as file:
            return {str(record[key]): record for record in json.load(file)}
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def observe(db, args):
    """Compares the file with what it held before, and notes what is to be said, in one transaction."""
    now = rows_of(args.observe, args.key)
    if now is None:
        return
    before = dict(db.execute("SELECT key, data FROM seen"))
    with db:
        for key, record in now.items():
            data = json.dumps(record, sort_keys=True)
            if before.get(key) != data:
                db.execute("INSERT OR REPLACE INTO seen VALUES (?, ?)", (key, data))
                note(db, args, "updated" if key in before else "created", record)
        for key in before.keys() - now.keys():
            db.execute("DELETE FROM seen WHERE key = ?", (key,))
            note(db, args, "deleted", {args.key: json.loads(before[key])[args.key]})


def note(db, args, word, data):
    event_type = f"io.lockstep.{args.entity}.{word}.v{args.major}"
    event = json.dumps({"type": event_type, "data": data})
    # An id for every saying, never one made of the content: stock 3, then 4, then 3 again are three.
    db.execute("INSERT INTO outbox (id, event) VALUES (?, ?)", (str(uuid.uuid4()), event))


async def publish(connection, db, args):
    """Says what is in the outbox, in its order; what was stored leaves it."""
    log, subject = connection.jetstream(), f"ls.inbox.{args.system}.{args.entity}"
    for no, id, event in db.execute("SELECT no, id, event FROM outbox ORDER BY no").fetchall():
        event = json.loads(event)
        inbox = connection.new_inbox()
        verdicts = await connection.subscribe(inbox, max_msgs=1)
        headers = {
            "Nats-Msg-Id": id,
            "ce-specversion": "1.0",
            "ce-id": id,
            "ce-source": f"/{args.system}",
            "ce-type": event["type"],
            "lsreplyto": inbox,
        }
        body = json.dumps(event["data"]).encode()
        # Where no acknowledgement comes this raises, and the same is said again under the same id.
        stored = await log.publish(subject, body, stream="LS_INBOX", headers=headers)
        with db:
            db.execute("DELETE FROM outbox WHERE no = ?", (no,))
        if stored.duplicate:
            # It was stored before a crash; its verdict went to whoever listened then.
            await verdicts.unsubscribe()
            continue
        try:
            verdict = json.loads((await verdicts.next_msg(timeout=args.deadline)).data)
            say({"verdict": verdict, "data": event["data"]})
        except asyncio.TimeoutError:
            await verdicts.unsubscribe()
            warn(f"no verdict on {id} yet: it is stored, and judged when the runtime runs")


async def observing(connection, db, args):
    while True:
        observe(db, args)
        await publish(connection, db, args)
        await asyncio.sleep(args.every)


# Hearing: settled events of the log → records.


async def events_of(log, message):
    """The events of a message: one, or many in a frame."""
    headers = {name.lower(): value for name, value in (message.headers or {}).items()}
    if headers.get("ls-kind") == "epoch":
        return []  # A new writer of this lane announces itself; it carries no change.
    body = message.data
    if "lockstep-object" in headers:
        body = await object_of(log, headers["lockstep-object"])
    if headers.get("content-type", "").startswith("application/cloudevents-batch+json"):
        return json.loads(body)
    attributes = {name[3:]: unquote(text) for name, text in headers.items() if name.startswith("ce-")}
    return [{**attributes, "data": json.loads(body or b"{}")}]


async def object_of(log, reference):
    """A body that was too large for a message, from the object store of the stream."""
    name = reference.split()[0].removeprefix("sha256:")
    body = (await (await log.object_store("LS_SET")).get(name)).data
    if hashlib.sha256(body).hexdigest() != name:
        raise ValueError(f"object {name} is damaged")
    return body


def apply(db, entity, lane, event):
    """Applies an event, inside of a transaction; whether it said anything new."""
    word = event["type"].split(".")[-2]
    life, sequence = event["id"].split("/")[0], event["sequence"]

    def held(key):
        """What is known of a record, if it is; and whether that is as new as the event."""
        select = "SELECT life, sequence, data FROM records WHERE entity = ? AND key = ?"
        known = db.execute(select, (entity, key)).fetchone()
        # Places of one life sort as their texts do. Another life begins with all of its records.
        return known, known is not None and known[0] == life and sequence <= known[1]

    def put(key, data):
        text = None if data is None else json.dumps(data)
        row = (entity, key, lane, life, sequence, text)
        db.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?)", row)

    if word == "truncated":
        # One comes on every lane, and empties that lane only: other lanes may be further on or behind.
        emptied = "UPDATE records SET data = NULL, life = ?, sequence = ?"
        which = "WHERE entity = ? AND lane = ? AND NOT (life = ? AND sequence >= ?)"
        row = (life, sequence, entity, lane, life, sequence)
        return db.execute(f"{emptied} {which}", row).rowcount > 0
    key = event["subject"]
    known, is_old = held(key)
    if is_old:
        return False
    if "lsreplaces" in event and not held(event["lsreplaces"])[1]:
        put(event["lsreplaces"], None)  # The record has another key now.
    if word == "deleted":
        # The place of a record that is gone is kept, or an older event could bring it back.
        put(key, None)
    elif word == "patched":
        put(key, {**json.loads(known[2] if known and known[2] else "{}"), **event["data"]})
    else:  # snapshot, created, updated
        put(key, event["data"])
    return True


async def hearing(connection, db, args, entity):
    log, lanes = connection.jetstream(), f"ls.set.{entity}.v{args.major}.*"
    durable = f"{args.durable}-{entity}"
    config = ConsumerConfig(
        durable_name=durable,
        filter_subject=lanes,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        # Seconds after which what was not acknowledged comes again: so long does a killed one wait.
        ack_wait=5,
        # One fetch at a time, or a delivery that comes again could come after newer ones.
        max_ack_pending=BATCH,
    )
    subscription = await log.pull_subscribe(lanes, durable=durable, stream="LS_SET", config=config)
    while True:
        try:
            messages = await subscription.fetch(BATCH, timeout=5)
        except asyncio.TimeoutError:
            continue  # Nothing new.
        for message in messages:
            lane = message.subject.rsplit(".", 1)[1]
            events = await events_of(log, message)
            with db:  # All of a message, or nothing.
                applied = sum(apply(db, entity, lane, event) for event in events)
            # Durable by now: if the acknowledgement is lost, it comes again and changes nothing.
            await message.ack()
            if events:
                say({"heard": entity, "applied": applied, "known": len(events) - applied})


async def lasting(name, work):
    """Does work over and over: a server that is away, or a log that nobody made yet, is waited for."""
    while True:
        try:
            await work()
        except (nats.errors.Error, nats.js.errors.Error, asyncio.TimeoutError) as error:
            warn(f"{name}: {error!r}; trying again")
            await asyncio.sleep(1)


async def main(args):
    db = sqlite3.connect(args.state)
    # What is acknowledged has to be on the disk.
    db.execute("PRAGMA synchronous = FULL")
    db.executescript(SCHEMA)
    connection = await nats.connect(args.server, max_reconnect_attempts=-1)
    work = [
        lasting(entity, lambda entity=entity: hearing(connection, db, args, entity))
        for entity in args.hear
    ]
    if args.observe:
        work.append(lasting(args.system, lambda: observing(connection, db, args)))
    await asyncio.gather(*work)


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--server", default=os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
parser.add_argument("--state", required=True, help="the SQLite file that keeps records and progress")
parser.add_argument("--major", type=int, default=1, help="major version of the contracts")
parser.add_argument("--observe", metavar="FILE", help="a JSON list of records to speak for")
parser.add_argument("--system", help="the inbox, as the configuration names it")
parser.add_argument("--entity", help="what the records of the file are")
parser.add_argument("--key", default="id", help="the field that identifies a record of the file")
parser.add_argument("--every", type=float, default=1, help="seconds between two looks at the file")
parser.add_argument("--deadline", type=float, default=30, help="seconds to wait for a verdict")
parser.add_argument("--hear", action="append", default=[], metavar="ENTITY", help="keep its records")
parser.add_argument("--durable", help="the name under which the log keeps how far was heard")
args = parser.parse_args()
if args.observe and not (args.system and args.entity):
    parser.error("--observe needs --system and --entity")
if args.hear and not args.durable:
    parser.error("--hear needs --durable")
if not args.observe and not args.hear:
    parser.error("say --observe, --hear, or both")
try:
    asyncio.run(main(args))
except KeyboardInterrupt:
    pass
