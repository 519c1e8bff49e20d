package kinesis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/firehosed/firehosed/pipeline"
)

// leaseVersion is written into leases. Newer ones are not touched.
const leaseVersion = 1

// lease is what is kept of a shard: who reads it, and its group position. It is one
// value of the store, swapped on condition. It saves work: two readers of a shard
// cost reading twice, never a row.
type lease struct {
	Version int    `json:"v"`
	Owner   string `json:"owner,omitempty"` // the worker that reads the shard; empty: nobody
	Next    string `json:"next,omitempty"`  // the worker that the owner is asked to hand it to
	Beat    int64  `json:"beat"`            // counts the owner's signs of life
	At      string `json:"at,omitempty"`    // group position
	Stamp   string `json:"stamp,omitempty"` // of the group position; empty: there is none
	// CaughtUpAt says that nothing was behind At at this time of the service's clock,
	// in milliseconds. 0: not known. It tells a shard that was silent for longer than
	// its retention from one that was overtaken.
	CaughtUpAt int64 `json:"caught_up_at,omitempty"`

	raw []byte // as the store has it; nil: it has none
}

func (l lease) hint() pipeline.Hint {
	st, ok := decodeStamp(l.Stamp)
	if !ok {
		return pipeline.Hint{}
	}
	return pipeline.Hint{At: pipeline.Cursor{At: pipeline.Position(l.At)}, Stamp: st}
}

func (l lease) quiet() quiet {
	if l.CaughtUpAt == 0 {
		return quiet{}
	}
	return quiet{pipeline.Position(l.At), time.UnixMilli(l.CaughtUpAt)}
}

// caught takes in what a reader knows. A position that was acknowledged only
// in part proves nothing.
func (l *lease) caught(q quiet) {
	if string(q.at) <= l.At && !q.when.IsZero() {
		l.CaughtUpAt = max(l.CaughtUpAt, q.when.UnixMilli())
	}
}

// leases keeps them in a store. It is safe for concurrent use.
type leases struct{ store pipeline.Store }

const (
	leasePrefix = "lease/" + Kind + ":"
	leaseSuffix = ".json"
)

func leaseKey(p pipeline.Partition) string { return "lease/" + p.Key() + leaseSuffix }

// get returns the lease of a shard; without raw if there is none.
func (ls leases) get(ctx context.Context, p pipeline.Partition) (lease, error) {
	raw, err := ls.store.Get(ctx, leaseKey(p))
	if err != nil || raw == nil {
		return lease{}, err
	}
	l := lease{}
	if err := json.Unmarshal(raw, &l); err != nil {
		return lease{}, fmt.Errorf("%s: %w", leaseKey(p), err)
	}
	if l.Version > leaseVersion {
		return lease{}, fmt.Errorf("%s is of version %d, which a newer firehosed wrote; this one knows %d", leaseKey(p), l.Version, leaseVersion)
	}
	l.raw = raw
	return l, nil
}

// all lists the shards that have a lease.
func (ls leases) all(ctx context.Context) ([]pipeline.Partition, error) {
	keys, err := ls.store.Keys(ctx, leasePrefix)
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	var ps []pipeline.Partition
	for _, key := range keys {
		p, err := pipeline.ParsePartition(strings.TrimSuffix(strings.TrimPrefix(key, "lease/"), leaseSuffix))
		if err != nil {
			return nil, fmt.Errorf("lease %q: %w", key, err)
		}
		ps = append(ps, p)
	}
	return ps, nil
}

// swap replaces old by now, which it completes. ErrStale: the store holds another.
func (ls leases) swap(ctx context.Context, p pipeline.Partition, old lease, now *lease) error {
	now.Version = leaseVersion
	raw, err := json.Marshal(now)
	if err != nil {
		return err
	}
	err = ls.store.Swap(ctx, leaseKey(p), old.raw, raw)
	if err != nil && !errors.Is(err, pipeline.ErrStale) { // the answer may be lost
		if is, e := ls.store.Get(ctx, leaseKey(p)); e == nil && string(is) == string(raw) {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	now.raw = raw
	return nil
}
