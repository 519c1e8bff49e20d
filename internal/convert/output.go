package convert

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// output is a file that appears under its name when it is complete, or a stream.
type output struct {
	name string
	file *os.File // nil: a stream
	w    *bufio.Writer
	n    int64
}

// create begins a file next to where it will be.
func create(name string, stdout io.Writer) (*output, error) {
	o := &output{name: name}
	if name == Stdio {
		o.w = bufio.NewWriterSize(stdout, 64<<10)
		return o, nil
	}
	dir, base := filepath.Split(name)
	for i := range 100 {
		f, err := os.OpenFile(fmt.Sprintf("%s.%s.%d-%d.tmp", dir, base, os.Getpid(), i), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) //nolint:gosec // the user's umask says who may read it
		if os.IsExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("create %s: %w", name, err)
		}
		o.file, o.w = f, bufio.NewWriterSize(f, 64<<10)
		return o, nil
	}
	return nil, fmt.Errorf("create %s: temporary files of other attempts are in the way: %s.%s.*.tmp", name, dir, base)
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.n += int64(n)
	return n, err
}

// commit makes the file appear, in the place of one that is there.
func (o *output) commit() error {
	err := o.w.Flush()
	if o.file == nil {
		return err
	}
	if err == nil {
		err = o.file.Sync()
	}
	if e := o.file.Close(); err == nil {
		err = e
	}
	temp := o.file.Name()
	if err == nil {
		err = os.Rename(temp, o.name)
	}
	if err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("write %s: %w", o.name, err)
	}
	return nil
}

// abort takes back what was written.
func (o *output) abort() {
	if o.file != nil {
		_ = o.file.Close()
		_ = os.Remove(o.file.Name())
	}
}
