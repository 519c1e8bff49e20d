package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxGet bounds what Get and Range return: 256 MiB. Larger objects are written by
// Create and read in ranges.
const MaxGet = 256 << 20

// MaxKey is the longest key in bytes, as on S3.
const MaxKey = 1024

// ErrPrecondition is returned by Put when its condition does not hold: the object
// is there, is gone, or is another one. Nothing was written.
var ErrPrecondition = errors.New("precondition failed")

// Cond is a condition of Put.
type Cond string

const (
	Always   Cond = ""  // create or replace
	IfAbsent Cond = "*" // only create
)

// IfMatch is the condition that the object still is what Get or Put returned
// etag for.
func IfMatch(etag string) Cond { return Cond(etag) }

// Object describes a stored object.
type Object struct {
	Key     string
	Size    int64
	ModTime time.Time // by the store's clock
	Owner   string    // who staged it; Stat only. "": it was not staged, or the store keeps no attributes
}

// Bucket stores objects under keys, which are slash-separated paths below the
// bucket's root. An object is whole when it is first seen, and durable when the
// call that made it returns. All calls on one key are linearizable. Safe for
// concurrent use.
//
// errors.Is(err, fs.ErrNotExist) holds if an object is not there. After any other
// error of a call that changes something, ErrPrecondition aside, the change may
// have been made, or be made later: read again.
type Bucket interface {
	// Location returns the absolute URI of a key, as table metadata has it:
	// s3://bucket/prefix/key or file:///folder/key. Of "": of the root, with a
	// slash at its end.
	Location(key string) string

	// Get returns a whole object of at most MaxGet bytes, and a tag for IfMatch. The
	// caller owns data; it is never nil without an error.
	Get(ctx context.Context, key string) (data []byte, etag string, err error)
	// Range returns n bytes from off, all or io.ErrUnexpectedEOF.
	Range(ctx context.Context, key string, off, n int64) ([]byte, error)
	// Stat describes an object.
	Stat(ctx context.Context, key string) (Object, error)
	// Put stores data in one request if cond holds, else it returns ErrPrecondition.
	// It returns the tag of the new object. It does not keep data.
	Put(ctx context.Context, key string, data []byte, cond Cond) (etag string, err error)
	// Create starts an object that is written piece by piece. The key must be one
	// that was never used: a local folder refuses a taken one in Close with
	// fs.ErrExist, S3 does not look. ctx holds for the writer's whole life.
	Create(ctx context.Context, key string) (Writer, error)
	// List yields the objects whose keys start with prefix and sort after after
	// ("": all), in ascending byte order of keys. It stops after yielding an error.
	List(ctx context.Context, prefix, after string) iter.Seq2[Object, error]
	// Delete removes objects; it is no error if some are not there. It tries all
	// keys and returns the errors joined.
	Delete(ctx context.Context, keys ...string) error
	// Sweep gives up what was begun under keys with prefix, was never published, and
	// is older than before by the store's clock: files of processes that crashed,
	// multipart uploads. It returns how many there were. Nobody must still be at work
	// on something so old.
	Sweep(ctx context.Context, prefix string, before time.Time) (n int, err error)
	// Now returns the time by the clock that ModTime is taken from, to the second.
	Now(ctx context.Context) (time.Time, error)
}

// Writer is an object being written. One goroutine uses it. It must be ended by
// Close or Abort; after an error of Write or Close it is good for Abort only.
type Writer interface {
	// Write does not keep p. It blocks while the bytes on their way are at their
	// limit.
	io.Writer
	// Close publishes the object and returns its size when it is durable. The store
	// has compared the bytes with their checksums. After an error the object may be
	// there all the same.
	Close(ctx context.Context) (size int64, err error)
	// Abort gives the object up: nothing of it stays. After Close it does nothing.
	Abort(ctx context.Context) error
}

// Key returns the key of an absolute location in b, and whether it is in b.
// Locations of local files may be given as file:///x, file:/x or /x, those on S3
// with the scheme s3, s3a or s3n.
func Key(b Bucket, location string) (key string, ok bool) {
	key, ok = strings.CutPrefix(normalize(location), b.Location(""))
	return key, ok && key != ""
}

// normalize returns a location with the scheme that Location uses.
func normalize(location string) string {
	switch scheme, rest, _ := strings.Cut(location, ":"); {
	case strings.HasPrefix(location, "/"):
		return "file://" + location
	case scheme == "file" && !strings.HasPrefix(rest, "//"):
		return "file://" + rest
	case scheme == "s3a" || scheme == "s3n":
		return "s3:" + rest
	}
	return location
}

// checkKey refuses keys that mean different things to different stores.
func checkKey(key string) error {
	bad := func(why string) error { return fmt.Errorf("object key %q: %s", key, why) }
	switch {
	case key == "":
		return errors.New("object key is empty")
	case len(key) > MaxKey:
		return fmt.Errorf("object key %q...: %d bytes, at most %d are allowed", key[:64], len(key), MaxKey)
	case key[0] == '/':
		return bad("it starts with a slash; keys are relative to the bucket's root")
	case key[len(key)-1] == '/':
		return bad("it ends with a slash")
	case !utf8.ValidString(key):
		return bad("it is not valid UTF-8")
	case strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }):
		return bad("it contains a control character or a backslash")
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "." || part == ".." {
			return bad("it contains the path element " + part)
		}
	}
	return nil
}

func tooLarge(location string, size int64) error {
	return fmt.Errorf("get %s: %d bytes, at most %d are read at once", location, size, MaxGet)
}
