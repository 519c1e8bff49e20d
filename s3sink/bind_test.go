package s3sink

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
)

func (k *worker) open() error {
	_, err := k.sink.Table(k.Context(), "t", k.st)
	return err
}

// bound returns the log's entry of the table past all faults.
func (w *world) bound() *pipeline.Entry {
	w.Helper()
	log, err := w.worker().sink.ctl.Read(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return log.Bound("t")
}

// TestBind: register, marker and log entry name one id; binding again is nothing.
func TestBind(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	for range 2 {
		if err := k.open(); err != nil {
			t.Fatal(err)
		}
	}
	r := w.register()
	if r.Seq != 0 || r.ID == "" || r.Rev != 1 || len(r.vec) != 0 {
		t.Errorf("register %+v", r)
	}
	data, _, err := w.bucket.Get(t.Context(), "data/_firehosed/p/t.bound")
	if err != nil || string(data) != `{"pipeline":"p","table":"t","register":"`+r.ID+`"}` {
		t.Errorf("marker %s, %v", data, err)
	}
	log, err := k.sink.ctl.Read(t.Context())
	if err != nil || len(log.Entries) != 1 {
		t.Fatalf("%d entries, %v", len(log.Entries), err)
	}
	if e := log.Bound("t"); e == nil || e.UUID != r.ID || e.Rev != 1 {
		t.Errorf("entry %+v", e)
	}
}

// TestBindCrash: whoever comes next finishes a binding, wherever it stopped, under its own
// stamp.
func TestBindCrash(t *testing.T) {
	for _, o := range []objstore.Outcome{objstore.Crash, objstore.CrashAfter, objstore.Lose, objstore.Late} {
		for _, at := range []struct{ op, key string }{{"put", "register"}, {"put", "log/"}, {"marker", "bound"}} {
			w := newWorld(t)
			k := w.worker()
			if at.op == "marker" {
				k.bucket.SetFaults(fail("put", at.key, 1, o))
			} else {
				k.control.SetFaults(fail(at.op, at.key, 1, o))
			}
			if err := k.open(); (err == nil) != (o == objstore.Lose || o == objstore.Late) {
				t.Fatalf("%v with outcome %d: %v", at, o, err)
			}
			w.control.Land()
			half := w.bound() == nil
			next := w.worker()
			next.st.Rev = 2
			if err := next.open(); err != nil {
				t.Fatalf("%v with outcome %d: %v", at, o, err)
			}
			if r := w.register(); r.Seq != 0 || half && r.Rev != 2 {
				t.Errorf("%v with outcome %d: register %+v, older workers may commit to it", at, o, r)
			}
			if err := next.put(p0, -1, 1); err != nil || w.register().Seq != 1 {
				t.Fatalf("%v with outcome %d: %v", at, o, err)
			}
		}
	}
}

// TestBindOlder: a binding that is half done is not finished under an older stamp.
func TestBindOlder(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	k.st.Rev = 2
	k.control.SetFaults(fail("put", "log/", 1, objstore.Crash))
	if err := k.open(); !errors.Is(err, objstore.ErrCrashed) {
		t.Fatal(err)
	}
	if err := w.worker().open(); !errors.Is(err, pipeline.ErrStale) {
		t.Errorf("open under an older stamp = %v", err)
	}
}

// TestBindRace: two workers bind a table at the same time, at every point of it.
func TestBindRace(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		k, other := w.worker(), w.worker()
		calls := 0
		both := func(objstore.Call) objstore.Outcome {
			if calls++; calls == n {
				if err := other.open(); err != nil {
					t.Fatalf("at call %d: %v", n, err)
				}
			}
			return objstore.Pass
		}
		k.control.SetFaults(both)
		k.bucket.SetFaults(both)
		if err := errors.Join(k.open(), k.put(p0, -1, 1), other.put(p0, 1, 2)); err != nil {
			t.Fatalf("at call %d: %v", n, err)
		}
		if calls < n {
			if n < 6 {
				t.Errorf("only %d calls", n)
			}
			return
		}
	}
}

func TestBindHalts(t *testing.T) {
	f := func(class string, harm func(w *world), want ...string) {
		t.Helper()
		w := newWorld(t)
		if err := w.worker().put(p0, -1, 1); err != nil {
			t.Fatal(err)
		}
		harm(w)
		isHalt(t, w.worker().open(), class, append(want, "table t")...)
	}
	del := func(prefix string) func(w *world) {
		return func(w *world) {
			for o, err := range w.control.List(context.Background(), prefix, "") {
				if err == nil {
					err = w.control.Delete(context.Background(), o.Key)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	overwrite := func(b func(w *world) *objstore.Memory, key, from, to string) func(w *world) {
		return func(w *world) {
			data, _, err := b(w).Get(t.Context(), key)
			if err != nil || !strings.Contains(string(data), from) {
				t.Fatalf("%s: %v", data, err)
			}
			if _, err := b(w).Put(t.Context(), key, []byte(strings.Replace(string(data), from, to, 1)), objstore.Always); err != nil {
				t.Fatal(err)
			}
		}
	}
	control := func(w *world) *objstore.Memory { return w.control }
	bucket := func(w *world) *objstore.Memory { return w.bucket }
	f(pipeline.HaltLost, del(""), "the bucket has its marker", "restore the control prefix")
	f(pipeline.HaltLost, del("s3/t/register"), "it was bound")
	f(pipeline.HaltCorrupt, del("log/"), "seq 1", "control log")
	f(pipeline.HaltCorrupt, overwrite(control, "s3/t/register", `"seq":1`, `"seq":7`), "checksum")
	f(pipeline.HaltCorrupt, overwrite(control, "s3/t/register", `{`, `[`), "damaged")
	f(pipeline.HaltCorrupt, overwrite(control, "s3/t/register", `"v":1`, `"v":2`), "version 2")
	f(pipeline.HaltReplaced, overwrite(control, "log/0000000001.json", `"uuid":"`, `"uuid":"x`), "bound was x")
	f(pipeline.HaltLost, overwrite(bucket, "data/_firehosed/p/t.bound", `"register":"`, `"register":"x`), "it is another one")
	f(pipeline.HaltCorrupt, overwrite(bucket, "data/_firehosed/p/t.bound", `{`, `[`), "marker")
}

// TestChainHalts: what is missing of the chain, or damaged, is found when it is needed.
func TestChainHalts(t *testing.T) {
	f := func(harm func(w *world, key string) error, want string) {
		t.Helper()
		w := newWorld(t)
		lose(w)
		if err := harm(w, "s3/t/commit/"+w.register().Head); err != nil {
			t.Fatal(err)
		}
		_, err := w.worker().mark(p0)
		isHalt(t, err, pipeline.HaltCorrupt, want)
	}
	f(func(w *world, key string) error { return w.control.Delete(t.Context(), key) }, "is gone")
	f(func(w *world, key string) error {
		data, _, err := w.control.Get(t.Context(), key)
		if err == nil {
			_, err = w.control.Put(t.Context(), key, []byte(strings.Replace(string(data), `"rows":3`, `"rows":4`, 1)), objstore.Always)
		}
		return err
	}, "checksum")
	f(func(w *world, key string) error {
		_, err := w.control.Put(t.Context(), key, []byte("{}"), objstore.Always)
		return err
	}, "envelope")
}

// TestMarkerComesBack: a consumer that removed the marker has done no harm.
func TestMarkerComesBack(t *testing.T) {
	w := newWorld(t)
	if err := w.worker().put(p0, -1, 1); err != nil {
		t.Fatal(err)
	}
	if err := w.bucket.Delete(t.Context(), "data/_firehosed/p/t.bound"); err != nil {
		t.Fatal(err)
	}
	if err := w.worker().put(p0, 1, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := w.bucket.Stat(t.Context(), "data/_firehosed/p/t.bound"); err != nil {
		t.Error(err)
	}
}

func TestTableNames(t *testing.T) {
	k := newWorld(t).worker()
	for _, name := range []string{"", "a/b", "ä", ".a", "a b", strings.Repeat("x", 65)} {
		if _, err := k.sink.Table(t.Context(), name, k.st); err == nil || !strings.Contains(err.Error(), "no name for a table") {
			t.Errorf("table %q: %v", name, err)
		}
	}
}
