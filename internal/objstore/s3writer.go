package objstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
)

// abortTimeout bounds giving up an upload after its context has ended.
const abortTimeout = 30 * time.Second

// s3Writer collects bytes into parts and uploads full ones in the background. An
// object of at most one part goes in a single request when it is closed.
type s3Writer struct {
	b     *S3
	put   put             // put.data is nil until Close
	ctx   context.Context // of Create, for the uploads: io.Writer has no room for it
	stop  context.CancelFunc
	buf   []byte
	size  int64
	id    string // of the upload; "": none begun
	ended bool

	staged *Attributes // nil: Close publishes

	slots chan struct{} // one for each part on its way
	sent  atomic.Int64  // bytes of memory on their way
	wg    sync.WaitGroup

	mu struct {
		sync.Mutex
		parts []Part // part i is number i+1
		err   error  // the first one of an upload
	}
}

// Create implements Bucket.
func (b *S3) Create(ctx context.Context, key string) (Writer, error) {
	w, err := b.create(ctx, key)
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (b *S3) create(ctx context.Context, key string) (*s3Writer, error) {
	full, err := b.full(ctx, key)
	if err != nil {
		return nil, err
	}
	w := &s3Writer{b: b, put: put{key: key, full: full, nonce: rand.Text()}}
	w.ctx, w.stop = context.WithCancel(ctx)
	w.slots = make(chan struct{}, b.cfg.PartUploads)
	return w, nil
}

// Write implements Writer.
func (w *s3Writer) Write(p []byte) (n int, err error) {
	if w.ended {
		return 0, w.b.wrap("upload", w.put.key, fs.ErrClosed)
	}
	for len(p) > 0 {
		if int64(len(w.buf)) == w.b.cfg.PartSize {
			if err := w.flush(); err != nil {
				return n, err
			}
		}
		k := min(len(p), int(w.b.cfg.PartSize)-len(w.buf))
		w.buf = append(w.b.parts.grow(w.buf, len(w.buf)+k), p[:k]...)
		p, n, w.size = p[k:], n+k, w.size+int64(k)
	}
	if w.staged != nil && int64(len(w.buf)) == w.b.cfg.PartSize { // else it may be all, and go in one request
		if err := w.flush(); err != nil {
			return n, err
		}
	}
	return n, w.failed()
}

func (w *s3Writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.err
}

// flush sends the buffer on its way as the next part.
func (w *s3Writer) flush() error {
	if w.id == "" {
		if err := w.begin(); err != nil {
			return err
		}
	}
	select {
	case w.slots <- struct{}{}:
	case <-w.ctx.Done():
		if err := w.failed(); err != nil {
			return err
		}
		return w.b.wrap("upload", w.put.key, context.Cause(w.ctx))
	}
	w.mu.Lock()
	w.mu.parts = append(w.mu.parts, Part{})
	n := len(w.mu.parts)
	w.mu.Unlock()
	if n > maxParts {
		<-w.slots
		return w.b.wrap("upload", w.put.key, fmt.Errorf("it has more than %d parts of %d bytes: set part_size higher", maxParts, w.b.cfg.PartSize))
	}
	buf := w.buf
	w.buf = nil
	w.sent.Add(int64(cap(buf)))
	w.wg.Go(func() {
		defer func() { w.sent.Add(-int64(cap(buf))); <-w.slots }()
		part, err := w.upload(int32(n), buf)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.mu.parts[n-1] = part
		if err != nil && w.mu.err == nil {
			w.mu.err = err
			w.stop()
		}
	})
	return nil
}

func (w *s3Writer) begin() error {
	b := w.b
	in := &s3.CreateMultipartUploadInput{Bucket: &b.bucket, Key: w.put.full, Metadata: map[string]string{nonceKey: w.put.nonce}}
	if w.staged != nil {
		w.staged.apply(in)
	}
	if !b.cfg.DisableChecksums {
		in.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32c
	}
	if sse := b.cfg.SSE; sse.Algorithm != "" {
		in.ServerSideEncryption = types.ServerSideEncryption(sse.Algorithm)
		in.SSEKMSKeyId, in.BucketKeyEnabled = sse.optional()
	}
	out, err := b.client.CreateMultipartUpload(w.ctx, in)
	if err != nil {
		return b.explain("upload", w.put.key, err)
	}
	w.id = aws.ToString(out.UploadId)
	if err := b.cfg.SSE.confirmed(string(out.ServerSideEncryption), out.SSEKMSKeyId); err != nil {
		return b.wrap("upload", w.put.key, err)
	}
	return nil
}

func (w *s3Writer) upload(n int32, data []byte) (Part, error) {
	b := w.b
	part := Part{Size: int64(len(data))}
	in := b.putInput(put{data: data}, Always)
	out, err := b.client.UploadPart(w.ctx, &s3.UploadPartInput{
		Bucket:         &b.bucket,
		Key:            w.put.full,
		UploadId:       &w.id,
		PartNumber:     &n,
		Body:           in.Body,
		ContentLength:  in.ContentLength,
		ChecksumCRC32C: in.ChecksumCRC32C,
	})
	if err != nil {
		return part, b.explain("upload", w.put.key, fmt.Errorf("part %d: %w", n, err))
	}
	part.ETag, part.CRC32C = aws.ToString(out.ETag), aws.ToString(in.ChecksumCRC32C)
	if got := out.ChecksumCRC32C; got != nil && part.CRC32C != "" && *got != part.CRC32C {
		return part, b.wrap("upload", w.put.key, fmt.Errorf("part %d: the store has the CRC32C %s, sent was %s", n, *got, part.CRC32C))
	}
	b.parts.reuse(data, out.ResultMetadata)
	return part, nil
}

// Close implements Writer.
func (w *s3Writer) Close(ctx context.Context) (int64, error) {
	if w.ended {
		return 0, w.b.wrap("upload", w.put.key, fs.ErrClosed)
	}
	if w.id == "" {
		return w.closeSmall(ctx)
	}
	defer context.AfterFunc(ctx, w.stop)()
	if len(w.buf) > 0 {
		if err := w.flush(); err != nil {
			return 0, err
		}
	}
	w.wg.Wait()
	if err := w.failed(); err != nil {
		return 0, err
	}
	u := Upload{Key: w.put.key, ID: w.id, Parts: w.mu.parts}
	err := w.b.complete(ctx, u, func(o *s3.HeadObjectOutput) bool { return o.Metadata[nonceKey] == w.put.nonce })
	if err != nil {
		return 0, err
	}
	w.end()
	return w.size, nil
}

func (w *s3Writer) closeSmall(ctx context.Context) (int64, error) {
	p := w.put
	p.data = w.buf
	out, err := w.b.client.PutObject(ctx, w.b.putInput(p, Always))
	_, err = w.b.stored(p, out, err)
	if err == nil {
		w.b.parts.reuse(w.buf, out.ResultMetadata)
	}
	w.end()
	if err != nil {
		return 0, err
	}
	return w.size, nil
}

// end lets go of what the writer holds.
func (w *s3Writer) end() {
	w.ended = true
	w.stop()
	w.wg.Wait()
	w.buf = nil
}

// Abort implements Writer.
func (w *s3Writer) Abort(ctx context.Context) error {
	if w.ended {
		return nil
	}
	w.end()
	if w.id == "" {
		return nil
	}
	// Parts cost money until they are removed, whoever has given up meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	return w.b.AbortUpload(ctx, w.put.key, w.id)
}

// freelist keeps buffers of parts for the next object, in place of the garbage
// collector: each is as large as everything else a writer does.
type freelist struct {
	size int
	free chan []byte
}

func newFreelist(size, keep int) *freelist {
	return &freelist{size: size, free: make(chan []byte, keep)}
}

// grow returns a buffer with the bytes of buf and room for n in all, n at most a
// part's size. Small objects are many: a new buffer starts small and doubles.
func (f *freelist) grow(buf []byte, n int) []byte {
	if n <= cap(buf) {
		return buf
	}
	select {
	case free := <-f.free:
		return append(free[:0], buf...)
	default:
		return append(make([]byte, 0, min(f.size, max(n, 2*cap(buf), 64<<10))), buf...)
	}
}

// reuse takes back a buffer of a part's size that was sent, unless it was sent
// more than once: an attempt that was given up may still be reading it.
func (f *freelist) reuse(buf []byte, sent middleware.Metadata) {
	attempts, ok := retry.GetAttemptResults(sent)
	if !ok || len(attempts.Results) != 1 || cap(buf) < f.size {
		return
	}
	select {
	case f.free <- buf:
	default:
	}
}
