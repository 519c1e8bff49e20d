"""What the source holds, read by a client that the product does not use, and what must become of it."""

import base64
import json
import re
import time

import orjson

from normal import DECODER, DuplicateKey

ROW, DEAD, SKIP = "row", "dead", "skip"
BLANK = " \t\r\n"


def units(value):
    """Yields (fate, what) for each unit of a record, in order.

    ROW comes with the parsed object, DEAD with the unit's bytes, SKIP with None. The rules are those of
    docs/design/types.md with the defaults: tombstones and blanks are skipped, and an empty value, broken UTF-8,
    broken JSON, a repeated key and a value that is no object are dead letters.
    """
    if value is None:
        yield SKIP, None
        return
    if value == b"":
        yield DEAD, b""
        return
    try:
        text = value.decode("utf-8-sig")
    except UnicodeDecodeError:
        yield DEAD, value
        return
    at, found = 0, False
    while True:
        while at < len(text) and text[at] in BLANK:
            at += 1
        if at == len(text):
            break
        found = True
        try:
            x, end = DECODER.raw_decode(text, at)
        except DuplicateKey:
            end = end_of_value(text, at)
            yield DEAD, text[at:end].encode()
        except ValueError:
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            yield DEAD, text[at:end].strip(BLANK).encode()
        else:
            if type(x) is dict:
                yield ROW, x
            else:
                yield DEAD, text[at:end].encode()
        at = end
    if not found:
        yield SKIP, None


SPACED = re.compile(rb'"[ \t\r\n]+:')


def plain(value):
    """Returns the object that a record is, and its number of members, if the fast parser can tell; else None, None.

    It can unless the two values below turn out to differ. orjson is as strict as units, but takes the last of two
    members with one key. The number returned is that of the places where a colon follows a quotation mark, which is at
    least the number of members; if the object has as many, none was dropped.
    """
    if not value or value[:1] != b"{" or SPACED.search(value):
        return None, None
    try:
        return orjson.loads(value), value.count(b'":')
    except ValueError:
        return None, None


def end_of_value(text, at):
    """Returns where a well-formed value ends."""
    return json.JSONDecoder().raw_decode(text, at)[1]


class File:
    """Records from a file of one {"partition", "offset", "value"} a line; the value is base64, or null."""

    def __init__(self, path):
        self.path = path

    def batches(self, size=2000):
        batch = []
        with open(self.path, encoding="utf-8") as f:
            for line in f:
                r = json.loads(line)
                value = r["value"]
                batch.append((r["partition"], r["offset"], value if value is None else base64.b64decode(value)))
                if len(batch) == size:
                    yield batch
                    batch = []
        yield batch

    def one(self, partition, offset):
        return next(r for b in self.batches() for r in b if r[:2] == (partition, offset))


class Topic:
    """Records from a Kafka topic, read with librdkafka: committed ones, from the beginning to the end as it is now."""

    def __init__(self, brokers, topic):
        self.brokers, self.topic = brokers, topic

    def consumer(self):
        from confluent_kafka import Consumer

        return Consumer({
            "bootstrap.servers": self.brokers, "group.id": "firehosed-checker", "enable.auto.commit": False,
            "auto.offset.reset": "error", "enable.partition.eof": True, "isolation.level": "read_committed",
            "fetch.message.max.bytes": 16 << 20, "queued.max.messages.kbytes": 256 << 10,
        })

    def batches(self, size=2000):
        from confluent_kafka import KafkaError, TopicPartition

        c = self.consumer()
        try:
            meta = c.list_topics(self.topic, timeout=30).topics[self.topic]
            if meta.error is not None:
                raise RuntimeError(f"topic {self.topic}: {meta.error}")
            start = []
            for p in meta.partitions:
                low, _ = c.get_watermark_offsets(TopicPartition(self.topic, p), timeout=30)
                start.append(TopicPartition(self.topic, p, low))
            c.assign(start)
            left, heard = len(start), time.monotonic()
            while left:
                batch = []
                messages = c.consume(size, timeout=0.2)  # waits this long for a full batch
                if messages:
                    heard = time.monotonic()
                elif time.monotonic() - heard > 30:
                    raise RuntimeError(f"topic {self.topic}: no answer for 30 s with {left} partitions to go")
                for m in messages:
                    if m.error() is None:
                        batch.append((m.partition(), m.offset(), m.value()))
                    elif m.error().code() == KafkaError._PARTITION_EOF:
                        left -= 1
                    else:
                        raise RuntimeError(f"topic {self.topic}: {m.error()}")
                yield batch
        finally:
            c.close()

    def one(self, partition, offset):
        from confluent_kafka import TopicPartition

        c = self.consumer()
        try:
            c.assign([TopicPartition(self.topic, partition, offset)])
            m = c.poll(30)
            return m.partition(), m.offset(), m.value()
        finally:
            c.close()
