// Program reaches two points.
package main

import (
	"os"

	"github.com/firehosed/firehosed/internal/failpoint"
)

func main() {
	failpoint.Hit("commit.sent")
	if failpoint.Err("commit.sent") != nil {
		os.Exit(1)
	}
}
