package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
)

// explain adds what to do to an error that a newcomer is likely to meet. place is
// the folder, URI or address that it is about.
func explain(err error, place string) error {
	var dns *net.DNSError
	var coded interface{ ErrorCode() string } // an answer of AWS, or of what speaks its protocols
	switch {
	case err == nil:
		return nil
	case errors.As(err, &coded): // explained by who knows the code
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("the disk that holds %s is full: free some space or choose another folder: %w", place, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s is on a file system that cannot be written to: choose another folder: %w", place, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("user %d may not write to %s: give that user permission, or choose another folder: %w", os.Getuid(), place, err)
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EEXIST):
		return fmt.Errorf("%s is not a folder: choose another: %w", place, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s did not answer in time: is the address right, and can it be reached from here? %w", place, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens at %s: is the service running, and is the address right? %w", place, err)
	case errors.As(err, &dns):
		return fmt.Errorf("the name %s of %s is not known: is it spelt right? %w", dns.Name, place, err)
	}
	return err
}
