package parquetfile

import (
	"bytes"
	"testing"
)

func TestCodecs(t *testing.T) {
	for _, name := range []string{"zstd", "snappy", "gzip", "lz4_raw", "lz4", "none"} {
		c, err := newCodec(name, 1)
		if err != nil {
			t.Fatal(err)
		}
		var enc, dec []byte
		for n := range 600 {
			src := bytes.Repeat([]byte{byte(n), 1, 2}, n)[:n]
			if enc, err = c.Encode(enc, src); err != nil {
				t.Fatal(err)
			}
			if dec, err = c.Decode(dec, enc); err != nil || !bytes.Equal(dec, src) {
				t.Fatalf("%s: %d bytes came back as %d: %v", name, n, len(dec), err)
			}
		}
	}
}
