"""Reads settled events with an ordinary NATS client and prints one JSON line for each.

    pip install nats-py
    python subscribe.py --entity account --durable my-program

Stop it and start it again: it goes on where it stopped. See ../EVENTS.md.
"""

import argparse
import asyncio
import json
from urllib.parse import unquote

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy


def events(message):
    """The events of a message, single or framed, as attributes with their data."""
    headers = {name.lower(): value for name, value in (message.headers or {}).items()}
    if headers.get("ls-kind") == "epoch":
        return []  # A new writer of this lane announces itself; it carries no change.
    if headers.get("content-type", "").startswith("application/cloudevents-batch+json"):
        return json.loads(message.data)
    attributes = {
        name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")
    }
    return [{**attributes, "data": json.loads(message.data or b"{}")}]


class Seen:
    """Recognises what came before: a delivery may come twice, always with the same id and sequence."""

    def __init__(self):
        self.last = {}

    def is_new(self, event):
        # Ids are `<life of the source>/<place in it>`; places of one life sort as their texts do.
        life, record = event["id"].split("/")[0], event.get("subject")
        known_life, known = self.last.get(record, (None, ""))
        if life == known_life and event["sequence"] <= known:
            return False
        self.last[record] = (life, event["sequence"])
        return True


async def main(args):
    connection = await nats.connect(args.server)
    log = connection.jetstream()
    lanes = f"ls.set.{args.entity}.v{args.major}.*"
    config = ConsumerConfig(
        durable_name=args.durable,
        filter_subject=lanes,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        # One fetch at a time, or a delivery that comes again could come after newer ones.
        max_ack_pending=args.batch,
    )
    subscription = await log.pull_subscribe(
        lanes, durable=args.durable, stream="LS_SET", config=config
    )
    seen, count = Seen(), 0
    while args.count is None or count < args.count:
        try:
            messages = await subscription.fetch(args.batch, timeout=5)
        except asyncio.TimeoutError:  # The client's own is one of these.
            continue  # Nothing new.
        for message in messages:
            for event in events(message):
                if not seen.is_new(event):
                    continue
                # Your own work comes here; what it did has to be durable before the acknowledgement.
                print(json.dumps(event), flush=True)
                count += 1
            await message.ack()
    await connection.close()


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--server", default="nats://127.0.0.1:4222")
parser.add_argument("--entity", required=True)
parser.add_argument("--major", type=int, default=1, help="major version of the contract")
parser.add_argument("--durable", required=True, help="the name under which progress is kept")
parser.add_argument("--batch", type=int, default=64, help="most messages of one fetch")
parser.add_argument("--count", type=int, help="end after this many events")
asyncio.run(main(parser.parse_args()))
