package objstore_test

import (
	"testing"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/internal/objstore/objstoretest"
)

func TestLocal(t *testing.T) {
	objstoretest.Bucket(t, func(t *testing.T) objstore.Bucket {
		b, err := objstore.OpenLocal(t.TempDir() + "/not/yet/there")
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}

func TestMemory(t *testing.T) {
	objstoretest.Bucket(t, func(t *testing.T) objstore.Bucket { return objstore.NewMemory() })
}
