"""Shows what an engine in a process of its own does when its asker goes away, or when it fails."""

import multiprocessing
import unittest
import unittest.mock

import pyarrow as pa

import engines

BATCH = pa.RecordBatch.from_pylist([{"a": 1}])


class Engine:
    """Yields two batches; what is to happen between them is a function."""

    version = "1"
    between = staticmethod(lambda: None)

    def __init__(self, s3):
        pass

    def batches(self, metadata, columns, at):
        yield BATCH
        self.between()
        yield BATCH


def refused():
    raise ConnectionRefusedError("no object store")


class Serve(unittest.TestCase):
    def setUp(self):
        self.ours, self.theirs = multiprocessing.Pipe()
        patch = unittest.mock.patch.dict(engines.ENGINES, {"fake": Engine})
        patch.start()
        self.addCleanup(patch.stop)
        self.addCleanup(self.ours.close)
        self.addCleanup(self.theirs.close)

    def between(self, do):
        patch = unittest.mock.patch.object(Engine, "between", staticmethod(do))
        patch.start()
        self.addCleanup(patch.stop)

    def test_nobody_asks(self):
        self.ours.close()
        engines.serve("fake", self.theirs)

    def test_closed_with_a_message_unread(self):
        self.ours.send(("table", None, None))
        self.between(self.ours.close)  # the version and a batch are unread: the connection is reset
        engines.serve("fake", self.theirs)

    def test_engine_fails(self):
        """A connection that an engine lost is its failure, and not the asker's going."""
        self.ours.send(("table", None, None))
        self.between(refused)
        self.theirs = unittest.mock.Mock(wraps=self.theirs, recv=unittest.mock.Mock(side_effect=[self.theirs.recv(), EOFError]))
        engines.serve("fake", self.theirs)
        self.assertEqual(self.ours.recv(), ("1", False))
        self.assertEqual(self.ours.recv(), engines.pack(BATCH))
        text, failed = self.ours.recv()
        self.assertTrue(failed)
        self.assertIn("no object store", text)

    def test_engine_does_not_start(self):
        with unittest.mock.patch.object(Engine, "__init__", lambda *_: refused()):
            engines.serve("fake", self.theirs)
        text, failed = self.ours.recv()
        self.assertTrue(failed)
        self.assertIn("no object store", text)


class Apart(unittest.TestCase):
    def test_unknown(self):
        with self.assertRaisesRegex(RuntimeError, "(?s)fake: .*KeyError"):
            engines.Apart("fake")  # the process has no such engine


if __name__ == "__main__":
    unittest.main()
