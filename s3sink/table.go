package s3sink

import (
	"context"
	"fmt"
	"regexp"
	"sync"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// table is one table of a sink: a register, and objects under a prefix.
type table struct {
	sink    *Sink
	name    string
	names   *Names
	called  *regexp.Regexp // what its objects are called
	rows    *schema.Schema // of records as they came
	letters *schema.Schema // of dead letters

	turn     turn // one commit, or one binding
	evolving turn // one change of the schema

	mu struct {
		sync.Mutex
		known   map[string]*manifest // of the chain, by name
		lost    map[string]bool      // commits that were found to have lost parts
		rev     int64                // the revision it was opened under
		open    int                  // objects that the last delivery had open at a time
		layouts []*layout            // of columnar formats: its schemas, newest first
	}
}

var _ pipeline.Table = (*table)(nil)

func (t *table) store() pipeline.Store { return t.sink.ctl.Store() }

// columnar tells whether the table's objects are files of columns.
func (t *table) columnar() bool { return t.sink.cfg.columnar() && !t.dead() }

// dead tells whether it is a table of dead letters, of whatever revision.
func (t *table) dead() bool { return t.sink.dead(t.name) }

// plain is the schema of rows that are no columns of parquet.
func (t *table) plain() *schema.Schema {
	if t.dead() {
		return t.letters
	}
	return t.rows
}

// owner is what the objects of a commit are stored with, so that whoever completes them
// knows them.
func (t *table) owner(commit string) string { return t.sink.pipeline + "/" + t.name + "/" + commit }

// markerKey is the object that says that the bucket has a table of this pipeline's. What
// reads the bucket by listing skips names that start with an underscore.
func (t *table) markerKey() string {
	return t.names.Static() + "_firehosed/" + t.sink.pipeline + "/" + t.name + ".bound"
}

// Watermarks implements [pipeline.Table]. Commits on the asked partitions are published
// before it answers: a mark is reported only when the rows below it are visible.
func (t *table) Watermarks(ctx context.Context, ps []pipeline.Partition) (pipeline.Ledger, error) {
	var asked map[pipeline.Partition]bool
	if ps != nil {
		asked = make(map[pipeline.Partition]bool, len(ps))
		for _, p := range ps {
			asked[p] = true
		}
	}
	var l pipeline.Ledger
	err := t.try(ctx, ownTries, func(ctx context.Context) error {
		r, err := t.load(ctx)
		if err != nil {
			return err
		}
		if r, err = t.showPending(ctx, r, asked); err != nil {
			return again(err)
		}
		l = pipeline.Ledger{Stamp: r.stamp(t.sink.pipeline), Marks: r.vec}
		return nil
	})
	if err != nil || ps == nil {
		return l, err
	}
	all := l.Marks
	l.Marks = pipeline.Vector{}
	for p := range asked {
		if m, ok := all[p]; ok {
			l.Marks[p] = m
		}
	}
	return l, nil
}

// showPending publishes what is pending on partitions, nil: on any, or carries a replay
// on that was begun. It returns the register as it is then.
func (t *table) showPending(ctx context.Context, r *register, ps map[pipeline.Partition]bool) (*register, error) {
	for {
		m, err := t.pendingOn(ctx, r, ps)
		if err != nil || m == nil {
			return r, err
		}
		if r.pending(m.name()).Replaying {
			err = t.carryOn(ctx, m)
		} else {
			err = t.publish(ctx, m)
		}
		if err != nil {
			return nil, err
		}
		if r, err = t.load(ctx); err != nil {
			return nil, err
		}
	}
}

// halt is the outcome of a table that waits for an operator.
func (t *table) halt(class, format string, args ...any) *pipeline.Halt {
	h := &pipeline.Halt{Class: class, Detail: "table " + t.name + ": " + fmt.Sprintf(format, args...)}
	switch class {
	case pipeline.HaltReplaced:
		h.Remedy = "restore the control prefix that the table was bound with, or firehosed table forfeit " + t.name
	default:
		h.Remedy = fmt.Sprintf("restore the control prefix from a copy, or point control at the one that the table was bound with; "+
			"without either, give the pipeline another prefix in the bucket, or firehosed table forfeit %s", t.name)
	}
	return h
}

// attributes are what objects of a commit are stored with.
func (t *table) attributes(commit string, c Compression) objstore.Attributes {
	cfg := &t.sink.cfg
	return objstore.Attributes{
		Owner: t.owner(commit), ContentType: "application/octet-stream", ContentEncoding: c.ContentEncoding(),
		StorageClass: cfg.StorageClass, ACL: cfg.ACL, Tags: cfg.Tags,
	}
}
