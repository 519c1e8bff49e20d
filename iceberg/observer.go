package iceberg

// Observer is told what a sink does beside what the pipeline sees. Every field may
// be nil. Hooks are called inline, by many goroutines, and must not block.
type Observer struct {
	// Sent: a commit of rows or marks was sent to the catalog. err nil: it is in. Any
	// other error: a rival was faster, or the answer was lost; the table tells.
	Sent func(table string, err error)
	// File: a data file was finished. small: below half the target size. reason is why
	// it was ended: one of the constants, or why its delivery was committed, one of
	// pipeline's.
	File func(table string, bytes int64, small bool, reason string)
}

// Why a data file was ended.
const (
	EndSize   = "size"       // it has reached the target size
	EndSchema = "schema"     // the table's columns changed
	EndOpen   = "open_files" // open_files were reached
)

// WithObserver sets who is told. Default: nobody.
func WithObserver(o Observer) Option { return func(s *Sink) { s.obs = o } }

func (o *Observer) sent(table string, err error) {
	if o.Sent != nil {
		o.Sent(table, err)
	}
}

func (o *Observer) file(table string, bytes, target int64, reason string) {
	if o.File != nil {
		o.File(table, bytes, bytes < target/2, reason)
	}
}
