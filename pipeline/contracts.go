package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firehosed/firehosed/schema"
)

// ---- Where a record is ----

// Partition names one independently ordered log. A topic or stream that was
// deleted and made anew has another Incarnation and is another partition.
type Partition struct{ Kind, Stream, Incarnation, ID string }

// Position is a place between two records of a partition. Byte order is log
// order; only the source knows the encoding. "" is before the first record.
type Position string

// End is the position after the last record of a partition that is closed for
// good (a resharded shard). It sorts after every other position.
const End Position = "~"

// Cursor is a position and the evidence to recognise a truncated log. Positions
// are compared, epochs never are.
type Cursor struct {
	At    Position
	Epoch int32 // Kafka leader epoch + 1; 0: unknown, or the source has none
}

// Span accounts for every record of a partition in [From, To), holes included.
type Span struct {
	Partition Partition
	From, To  Cursor
}

// ---- What is durable ----

// Stamp says which run of a pipeline wrote a fact. Epoch separates watermark
// spaces, Replay counts deliberate rewinds, Rev is the revision of the config.
type Stamp struct {
	Pipeline string `json:"pipeline"`
	Epoch    int64  `json:"epoch"`
	Replay   int64  `json:"replay"`
	Rev      int64  `json:"rev"`
}

// Hint is the low watermark as the source's own bookkeeping keeps it. The zero
// Hint means there is none, or it was not written by firehosed.
type Hint struct {
	At    Cursor
	Stamp Stamp
}

// Mark is what a table records about one partition. All of the table's rows
// below At are in it. Floor is a low watermark of the pipeline, from before the
// commit that wrote it. The zero At is ABSENT: no row of the partition ever came.
type Mark struct {
	At    Cursor
	Floor Position
}

// Ledger is what a table records about a pipeline. No mark: no row ever came.
type Ledger struct {
	Stamp Stamp
	Marks map[Partition]Mark
}

// Claim is a span that one table commits. From is the table's mark; the rows of
// the delivery are exactly the table's rows in the span.
type Claim struct {
	Span
	Floor Position // the low watermark of the partition when the claim was cut
}

// Start tells a reader where to begin.
type Start struct {
	At   Cursor
	High Position // the log is known to have reached this; if it ends below, it was truncated
}

// ---- What flows ----

// Batch is a run of records of one partition. Its memory belongs to the reader
// and is reused after Release.
//
// A unit is what conservation counts: a record, or one of several JSON values in
// a record. A reader yields one unit a record (Src and Sub are nil). A stage that
// splits records rewrites Values, Src and Sub together.
type Batch struct {
	Span    Span               // never changed by a stage
	Name    string             // what people call the stream: the topic's name
	Values  [][]byte           // the units in order: windows into fetch memory; nil value: tombstone
	Src     []int32            // the record each unit came from, ascending; nil: unit i is record i
	Sub     []int32            // the number of a unit within its record; nil: not split, a decoder may still find several
	Keys    [][]byte           // the partition key of each unit that was put with one of its own, as in an aggregate; nil: that of the record
	Times   []int64            // by record: microseconds since 1970 UTC, as the source stamped them
	Meta    arrow.RecordBatch  // by record: the metadata columns by their names (schema.ColTopic ...); may be nil
	Cursor  func(i int) Cursor // just before record i; asked a few times a batch, not per record
	Parts   []Part             // set by the routing stage: at most one per table
	Rejects []Reject           // for the dead-letter table; a pure function of record and revision
	Dropped map[string]int     // units left out, by the name of the rule
	Release func()             // called once, when the last table has taken its rows
}

// Record returns the record that unit i came from.
func (b *Batch) Record(i int32) int32 {
	if b.Src == nil {
		return i
	}
	return b.Src[i]
}

// Fork returns b for one of several sinks: what the stages of one make of it does not
// change it for the others.
func (b *Batch) Fork() *Batch {
	own := *b
	own.Parts, own.Rejects, own.Dropped = slices.Clip(b.Parts), slices.Clip(b.Rejects), maps.Clone(b.Dropped)
	return &own
}

// Bytes returns the size of the units.
func (b *Batch) Bytes() (n int64) {
	for _, v := range b.Values {
		n += int64(len(v))
	}
	return n
}

// Drop counts n units left out by a rule.
func (b *Batch) Drop(rule string, n int) {
	if b.Dropped == nil {
		b.Dropped = map[string]int{}
	}
	b.Dropped[rule] += n
}

// Part is the share of a batch that goes to one table.
type Part struct {
	Table  string
	Units  []int32        // indexes into Values, ascending
	Pinned *schema.Schema // what a table made by others required when it was bound (set by the runtime); may be nil

	Careful bool // the part has made a decoder panic (set by the runtime)
}

// Rows is a part laid out for its table. The receiver releases Data; the rest
// is valid until the next call of the decoder.
//
// Data's fields carry the ids of the schema it was laid out for in their
// metadata (schema.FieldIDKey). A column without any value may be left out; a
// string column with few values may come as dictionary<int32, string>.
type Rows struct {
	Data    arrow.RecordBatch
	Rec     []int32        // by row: the record (not the unit) it came from, ascending
	Sub     []int32        // by row: its number within the record
	Rejects []Reject       // units that are no rows at all; must not depend on the schema
	Dropped map[string]int // units left out, by the name of the rule; must not depend on the schema
	Want    *schema.Schema // nil, or a schema that has room for what was rescued
}

// CodePanic rejects what a stage or a decoder panics at.
const CodePanic = schema.CodePanic

// Reject is a unit taken out of the flow, and why.
type Reject struct {
	Rec, Sub            int32  // the record, and the unit's number within it
	Code, Message, Path string // Path is a JSON pointer, or empty
	Table               string // the table it was meant for; empty: no route
	Payload             []byte // the unit's bytes: a window into the batch
}

// ---- Sources ----

// Log reads without owning: for verify, plan, trace, backfill and catching up.
type Log interface {
	// Partitions lists what there is to read now, other workers' too.
	Partitions(ctx context.Context) ([]Partition, error)
	// Name returns what people call the stream of p: the topic's name. "": unknown.
	Name(p Partition) string
	// Locate returns the cursor of the first record at or after t. The zero time
	// is the oldest record, a time to come is the end.
	Locate(ctx context.Context, p Partition, t time.Time) (Cursor, error)
	// Open starts reading. A *Halt says that the log was truncated, recreated or
	// that retention has overtaken the start.
	Open(ctx context.Context, p Partition, s Start) (Reader, error)
}

// Reader yields batches whose spans chain. One goroutine uses it.
type Reader interface {
	// Next blocks until there is a batch or ctx ends; then nothing was consumed.
	// io.EOF: the last span ended at End. A *Halt as from Open. What is fetched and
	// not yet released stays within the pipeline's share of the budget.
	Next(ctx context.Context) (*Batch, error)
	Close() error
}

// Source is a log whose partitions are shared out among workers.
type Source interface {
	Log
	// Hint returns what the source's bookkeeping keeps for a partition, owned by
	// this worker or not: a new revision's barrier needs all of them. No answer is
	// an error, never the zero Hint.
	Hint(ctx context.Context, p Partition) (Hint, error)
	// Run blocks until ctx ends and tells h what this worker owns. Before it
	// returns, h was told that nothing is owned any more.
	Run(ctx context.Context, h Handler) error
}

// Handler is implemented by the pipeline and called by one goroutine at a time.
type Handler interface {
	// Assigned returns when the lanes are being read. After an error none of them is,
	// and they are to be given again for as long as the worker owns them.
	Assigned(ctx context.Context, lanes []Lane) error
	// Revoked commits what it can before ctx's deadline and forgets the rest.
	// A ctx that is already done: the lanes belong to someone else by now.
	Revoked(ctx context.Context, lanes []Lane) error
}

// Lane is a partition this worker owns, as far as it knows.
type Lane interface {
	Partition() Partition
	Open(ctx context.Context, s Start) (Reader, error) // as Log.Open; ends the reader opened before
	// Ack tells the source that all below low is durable in every table: it moves
	// the group offset, frees log segments, at End lets child shards begin.
	// Losing an ack costs re-reading, never rows.
	Ack(ctx context.Context, low Cursor, st Stamp) error
}

// ---- On the way ----

// Stage works on records: unpack, filter, call out, route. It sets the fields of b,
// never an element of its slices, which the stages of other sinks have, too; and it is
// a pure function of records and revision. Every lane has its own stages, for every
// sink, so a stage needs no lock. A record that makes the stages panic, alone in a
// batch, is rejected with CodePanic, and the others go through fresh ones.
type Stage interface {
	Process(ctx context.Context, b *Batch) error
}

// Decoder turns units into rows of s, which may be nil. What has no place in s
// is rescued whole and asked for in Rows.Want. Rejects and drops must not depend
// on s. Transforms of columns wrap a decoder. Every lane has its own.
//
// A panic costs the decoder: a fresh one gets the same part, marked Careful. It finds
// the units that panic, each for itself, and rejects them with CodePanic. If it
// panics too, the lane stops.
type Decoder interface {
	Decode(ctx context.Context, b *Batch, part Part, s *schema.Schema) (Rows, error)
}

// ---- Destinations ----

// SplitTable splits the name of a table, "archive:shop.orders", into that of its sink
// and what the sink calls it. The tables of a pipeline's first sink have no sink in their
// names.
func SplitTable(name string) (sink, table string) {
	sink, table, named := strings.Cut(name, ":")
	if !named {
		return "", name
	}
	return sink, table
}

// Sink opens tables by name. Every table stands alone: one register, one
// delivery being filled, one commit in flight, one halt. It is known to the control log
// by its whole name, that of its sink included.
type Sink interface {
	// Table binds a table under the stamp, creating it where the config allows.
	// st is written into the header of a fresh binding. A *Halt says that it cannot
	// be bound, or that it was bound and is not in order.
	Table(ctx context.Context, name string, st Stamp) (Table, error)
	// Fence makes a bound table refuse commits with an older stamp than st, and
	// returns its ledger as it then is. If st begins a new epoch, it empties the
	// marks. A table that is not in order is fenced too, so that a resume that has
	// not seen st loses; its ledger is what a replay would restore. Fencing twice is
	// once. Any error: the table could not be fenced.
	Fence(ctx context.Context, name string, st Stamp) (Ledger, error)
	// Close releases what the sink holds. No delivery may be open.
	Close(ctx context.Context) error
}

// Table is a set of rows and a ledger that change together. Safe for
// concurrent use. Every method may return a *Halt.
type Table interface {
	// Schema returns the schema last seen; it may be behind.
	Schema() *schema.Schema
	// Evolve makes room for want as far as the table's rules allow, durably, and
	// returns the schema now in force.
	Evolve(ctx context.Context, want *schema.Schema) (*schema.Schema, error)
	// Watermarks reads the ledger afresh. ps nil: of every partition.
	Watermarks(ctx context.Context, ps []Partition) (Ledger, error)
	// Begin returns an empty delivery. It makes no call that can wait.
	Begin(ctx context.Context) (Delivery, error)
}

// Delivery is rows that become visible together.
type Delivery interface {
	// Write stages rows out of sight. Lanes call it at the same time; rows of one
	// partition come in log order. It keeps neither b nor r; Retain Data to keep
	// it. After an error, or a panic, the delivery is good for Abort only.
	Write(ctx context.Context, b *Batch, r Rows) error
	// Size returns the bytes held in memory, the bytes of output so far (the
	// largest file still growing counts as its encoded size), and whether the
	// delivery should be committed soon: a file limit is reached. Cheap.
	Size() (held, output int64, full bool)
	// Commit publishes the rows and moves the marks from claim.From to claim.To,
	// all or none, only if every mark still equals its From (no mark equals the
	// zero cursor) and the table has seen no newer stamp. A newer Replay than the
	// ledger's drops its old floors. Commit tries again for as long as that can
	// help, and deletes nothing. nil: the rows are in. *Halt: the table needs an
	// operator. Any other error, ErrStale among them: read the watermarks again and
	// go by them, whatever became of this attempt. Nothing is called after Commit.
	// cause is for metrics: one of the constants below.
	Commit(ctx context.Context, st Stamp, claims []Claim, cause string) error
	// Abort gives up staged rows that were never committed.
	Abort(ctx context.Context) error
}

// Why a delivery is committed.
const (
	CutInterval = "interval" // commit_interval was over: the stream brings no more in that time
	CutMemory   = "memory"   // the memory budget was short
	CutRows     = "max_rows" // max_rows was reached
	CutFull     = "full"     // a file of the delivery reached its size, or there were too many
	CutAsked    = "request"  // somebody asked for a flush
	CutHandover = "handover" // partitions were given away, or the worker stopped
)

// Store keeps the few small facts of a pipeline that belong to no table: the
// control log, origins, barriers, leases, and marks for services that cannot
// hold them. Keys are slash-separated, ASCII letters, digits and "._-~:%@=+".
// A value is at most 16 MiB.
type Store interface {
	Get(ctx context.Context, key string) ([]byte, error) // nil: absent
	// Swap sets key to val if it still holds old (nil: absent), else ErrStale.
	// After any other error, Get tells what happened.
	Swap(ctx context.Context, key string, old, val []byte) error
	Keys(ctx context.Context, prefix string) ([]string, error) // ascending
	// Delete removes a key that nobody needs any more; absent is no error.
	Delete(ctx context.Context, key string) error
}

// ---- Outcomes ----

// ErrStale: someone else moved on; read again before you decide.
var ErrStale = errors.New("stale")

// Classes of halts, as in docs/design/exactly-once.md.
const (
	HaltRewound    = "REWOUND"
	HaltLost       = "LOST"
	HaltCorrupt    = "CORRUPT"
	HaltReplaced   = "REPLACED"
	HaltStricter   = "STRICTER" // a table of others requires more of a record than the revision's readers go by
	HaltClaimed    = "CLAIMED"
	HaltRefused    = "REFUSED"
	HaltTruncated  = "SOURCE_TRUNCATED"
	HaltOvertaken  = "SOURCE_OVERTAKEN"
	HaltRecreated  = "SOURCE_RECREATED"
	HaltUnreadable = "SOURCE_UNREADABLE"
	HaltPartsLost  = "PARTS_LOST" // a commit is on the chain, and uploads of it are gone
)

// Halt stops one table or one partition, whichever returned it, until an
// operator decides. Everything else goes on, and nothing is skipped.
type Halt struct {
	Class  string `json:"class"`  // one of the constants
	Detail string `json:"detail"` // what was found, with values
	Remedy string `json:"remedy"` // the command that decides
}

func (h *Halt) Error() string { return h.Class + ": " + h.Detail + " (" + h.Remedy + ")" }

// ---- Keys and order ----

// Key returns the SourceKey of the design: kind:stream:incarnation:id, each part
// percent-escaped.
func (p Partition) Key() string {
	return p.StreamKey() + ":" + escape(p.ID)
}

// StreamKey is Key without the id.
func (p Partition) StreamKey() string {
	return escape(p.Kind) + ":" + escape(p.Stream) + ":" + escape(p.Incarnation)
}

// String returns Key.
func (p Partition) String() string { return p.Key() }

// LogValue implements [slog.LogValuer]: logs have the key that commands take.
func (p Partition) LogValue() slog.Value { return slog.StringValue(p.Key()) }

// ParsePartition is the inverse of Key.
func ParsePartition(key string) (Partition, error) {
	parts := strings.Split(key, ":")
	if len(parts) != 4 {
		return Partition{}, fmt.Errorf("source key %q: want kind:stream:incarnation:id", key)
	}
	for i, s := range parts {
		var err error
		if parts[i], err = unescape(s); err != nil {
			return Partition{}, fmt.Errorf("source key %q: %w", key, err)
		}
	}
	return Partition{parts[0], parts[1], parts[2], parts[3]}, nil
}

const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-~"

func escape(s string) string {
	if strings.Trim(s, plain) == "" {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(plain, s[i]) >= 0 {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}

func unescape(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		var x byte
		if len(s) < i+3 {
			return "", fmt.Errorf("escape at byte %d is cut short", i)
		}
		if _, err := fmt.Sscanf(s[i+1:i+3], "%02X", &x); err != nil {
			return "", fmt.Errorf("escape at byte %d: %w", i, err)
		}
		b.WriteByte(x)
		i += 2
	}
	return b.String(), nil
}

// Newer reports whether s is from a later run than o of the same pipeline.
func (s Stamp) Newer(o Stamp) bool {
	return s.Epoch > o.Epoch || s.Epoch == o.Epoch && (s.Replay > o.Replay || s.Rev > o.Rev)
}

// SameRun reports whether hints and floors written under o hold for s.
func (s Stamp) SameRun(o Stamp) bool {
	return s.Pipeline == o.Pipeline && s.Epoch == o.Epoch && s.Replay == o.Replay
}

func later(a, b Cursor) Cursor {
	if b.At > a.At {
		return b
	}
	return a
}
