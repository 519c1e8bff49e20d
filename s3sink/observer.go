package s3sink

import "time"

// Observer is told what a sink does beside what the pipeline sees. Every field may be
// nil. Hooks are called inline, by many goroutines, and must not block.
type Observer struct {
	// Sent: the swap that puts a commit of rows on the chain was sent. err nil: it is in.
	// Any other error: a rival was faster, or the answer was lost; the register tells.
	Sent func(table string, err error)
	// Published: all objects of a commit are visible. took is for this attempt.
	Published func(table string, objects int, took time.Duration)
	// Object: all bytes of an object are staged. small: below half of buffer_size. reason
	// is why it was ended: one of the constants, or why its delivery was committed, one
	// of pipeline's.
	Object func(table string, bytes int64, small bool, reason string)
	// Lost: a commit cannot be published, so many of its objects are gone.
	Lost func(table string, objects int)
}

// Why an object was ended.
const (
	EndSize       = "size"           // it has reached buffer_size
	EndPartitions = "max_partitions" // max_partitions were reached
	EndSchema     = "schema"         // the table's columns changed
)

// WithObserver sets who is told. Default: nobody.
func WithObserver(o Observer) Option { return func(s *Sink) { s.obs = o } }

func (o *Observer) sent(table string, err error) {
	if o.Sent != nil {
		o.Sent(table, err)
	}
}

func (o *Observer) published(table string, objects int, took time.Duration) {
	if o.Published != nil {
		o.Published(table, objects, took)
	}
}

func (o *Observer) object(table string, bytes, target int64, reason string) {
	if o.Object != nil {
		o.Object(table, bytes, bytes < target/2, reason)
	}
}

func (o *Observer) lost(table string, objects int) {
	if o.Lost != nil {
		o.Lost(table, objects)
	}
}
