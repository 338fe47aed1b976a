"""Publishes observations with an ordinary NATS client and prints the verdict on each.

    pip install nats-py
    echo '{"id": "A-1", "stock": 3}' | python publish.py --system shop --entity article

Reads one record a line from standard input. Ends with 1 if one was refused. See ../EVENTS.md.
"""

import argparse
import asyncio
import json
import sys
import uuid

import nats
import nats.errors


async def ask(connection, subject, body, headers, deadline):
    """Publishes a message durably and waits for what becomes of it."""
    inbox = connection.new_inbox()
    verdicts = await connection.subscribe(inbox, max_msgs=1)
    # The acknowledgement says that the message is stored; the verdict comes to `lsreplyto`.
    headers = {**headers, "Nats-Msg-Id": str(uuid.uuid4()), "lsreplyto": inbox}
    for attempt in range(3):
        try:
            await connection.jetstream().publish(subject, body, stream="LS_INBOX", headers=headers)
            break
        except nats.errors.TimeoutError:
            if attempt == 2:
                raise  # Not stored, or nobody knows: the same id makes trying again harmless.
    return json.loads((await verdicts.next_msg(timeout=deadline)).data)


def single(record):
    """A plain record: an upsert."""
    return json.dumps(record).encode(), {}


def frame(records, args):
    """Many records as one CloudEvents batch, each judged on its own."""
    word = "deleted" if args.delete else "updated"
    batch = [
        {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "source": f"/{args.system}",
            "type": f"io.lockstep.{args.entity}.{word}.v{args.major}",
            "data": record,
        }
        for record in records
    ]
    return json.dumps(batch).encode(), {"Content-Type": "application/cloudevents-batch+json"}


async def main(args):
    records = [json.loads(line) for line in sys.stdin if line.strip()]
    connection = await nats.connect(args.server)
    subject = f"ls.inbox.{args.system}.{args.entity}"
    messages = [frame(records, args)] if args.frame or args.delete else map(single, records)
    refused = 0
    for body, headers in messages:
        verdict = await ask(connection, subject, body, headers, args.deadline)
        print(json.dumps(verdict), flush=True)
        refused += verdict.get("refused", verdict.get("outcome") == "refused")
    await connection.close()
    return 1 if refused else 0


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--server", default="nats://127.0.0.1:4222")
parser.add_argument("--system", required=True, help="the inbox, as the configuration names it")
parser.add_argument("--entity", required=True)
parser.add_argument("--major", type=int, default=1, help="major version of the contract")
parser.add_argument("--frame", action="store_true", help="one message for all records")
parser.add_argument("--delete", action="store_true", help="the records are gone; their keys suffice")
parser.add_argument("--deadline", type=float, default=30, help="seconds to wait for a verdict")
sys.exit(asyncio.run(main(parser.parse_args())))
