package s3sink

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// spill keeps output below a part's size in a file, so that an open object takes memory
// only while a part is on its way. The file has no name: nothing of it stays after a
// crash. Its bytes need not survive one either, as those of an object that is not staged.
type spill struct {
	folder string
	part   int64
	out    io.Writer
	file   *os.File // nil: nothing was written yet
	size   int64    // bytes in the file
}

// Write implements [io.Writer].
func (s *spill) Write(p []byte) (n int, err error) {
	if s.file == nil {
		if err := s.open(); err != nil {
			return 0, err
		}
	}
	for n < len(p) {
		k, err := s.file.Write(p[n:min(len(p), n+int(s.part-s.size))])
		n, s.size = n+k, s.size+int64(k)
		if err != nil {
			return n, fmt.Errorf("spill_folder %s: %w", s.folder, err)
		}
		if s.size == s.part {
			if err := s.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (s *spill) open() (err error) {
	if s.file, err = os.CreateTemp(s.folder, "firehosed-*"); err != nil {
		return fmt.Errorf("spill_folder: %w", err)
	}
	if err := os.Remove(s.file.Name()); err != nil {
		return fmt.Errorf("spill_folder: %w", err)
	}
	return nil
}

// flush sends what the file has on its way.
func (s *spill) flush() error {
	if s.size == 0 {
		return nil
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("spill_folder %s: %w", s.folder, err)
	}
	n, err := io.Copy(s.out, io.LimitReader(s.file, s.size)) // CopyN forgets an error that comes with the last bytes
	if err == nil && n != s.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("send what is in spill_folder %s: %w", s.folder, err)
	}
	_, err = s.file.Seek(0, io.SeekStart)
	if err = errors.Join(err, s.file.Truncate(0)); err != nil {
		return fmt.Errorf("spill_folder %s: %w", s.folder, err)
	}
	s.size = 0
	return nil
}

func (s *spill) close() {
	if s != nil && s.file != nil {
		s.file.Close()
	}
}
