package iceberg

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	icego "github.com/apache/iceberg-go"

	"github.com/firehosed/firehosed/pipeline"
)

// headerVersion is the newest version of the property that this binary writes and
// understands. A table with a newer one is never written.
const headerVersion = 1

const (
	ringSize    = 8        // of our own snapshots that the header remembers
	chunkBytes  = 16 << 10 // of the packed vector per property
	chunkNarrow = 3500     // the same where the catalog keeps properties in narrow columns (Glue)
	propPrefix  = "firehosed.wm."
)

// header is the property firehosed.wm.<pipeline>: the stamp of our last commit,
// the snapshot that it was written with, and how to read the chunks beside it.
// The order of the fields is the order in the property; crc is the last.
type header struct {
	V      int               `json:"v"`
	Epoch  int64             `json:"e"`
	Replay int64             `json:"re"`
	Rev    int64             `json:"rev"`
	Seq    int64             `json:"seq"` // counts our commits on the table; 0: bound, nothing else yet
	SID    string            `json:"sid"` // the snapshot of this header; text: other readers lose digits of large numbers
	SNo    int64             `json:"sno"` // its sequence number
	Ring   [][2]string       `json:"ring"`
	Src    []string          `json:"src"` // stream keys; the chunks refer to them by index
	Ended  map[string]string `json:"ended,omitempty"`
	N      int               `json:"n"`
	CRC    string            `json:"crc"`
}

func (h *header) stamp(name string) pipeline.Stamp {
	return pipeline.Stamp{Pipeline: name, Epoch: h.Epoch, Replay: h.Replay, Rev: h.Rev}
}

// next returns the header of the commit that adds snapshot sid. A bind keeps seq at 0.
func (h *header) next(st pipeline.Stamp, sid, sno int64, bind bool) *header {
	n := *h
	n.V, n.Epoch, n.Replay, n.Rev = headerVersion, st.Epoch, st.Replay, st.Rev
	if !bind {
		n.Seq++
	}
	n.SID, n.SNo = strconv.FormatInt(sid, 10), sno
	n.Ring = append([][2]string{{n.SID, strconv.FormatInt(sno, 10)}}, h.Ring...)
	n.Ring = n.Ring[:min(len(n.Ring), ringSize)]
	return &n
}

func headerKey(name string) string { return propPrefix + name }

func chunkKey(name string, i int) string { return propPrefix + name + "." + strconv.Itoa(i) }

// encode returns the properties that hold h and v, and the keys of chunks that
// are no longer used. It fills in h.Src, h.N and h.CRC.
func (h *header) encode(v pipeline.Vector, name string, chunk int, old icego.Properties) (set icego.Properties, remove []string, err error) {
	if h.Src = v.Streams(h.Src); h.Src == nil {
		h.Src = []string{}
	}
	body := v.Pack(h.Src)
	set = icego.Properties{}
	h.N = 0
	for rest := body; rest != ""; h.N++ {
		n := min(len(rest), chunk)
		set[chunkKey(name, h.N)], rest = rest[:n], rest[n:]
	}
	h.CRC = ""
	open, err := json.Marshal(h)
	if err != nil {
		return nil, nil, fmt.Errorf("encode property %s: %w", headerKey(name), err)
	}
	h.CRC = checksum(string(open), body)
	set[headerKey(name)] = strings.TrimSuffix(string(open), crcTail("")) + crcTail(h.CRC)
	for i := h.N; ; i++ {
		key := chunkKey(name, i)
		if _, ok := old[key]; !ok {
			return set, remove, nil
		}
		remove = append(remove, key)
	}
}

func crcTail(sum string) string { return `"crc":"` + sum + `"}` }

// checksum is over the header's text with an empty crc, a newline and the chunks.
func checksum(open, body string) string {
	castagnoli := crc32.MakeTable(crc32.Castagnoli) // made once, by the library
	sum := crc32.Update(0, castagnoli, []byte(open))
	sum = crc32.Update(sum, castagnoli, []byte{'\n'})
	return fmt.Sprintf("%08x", crc32.Update(sum, castagnoli, []byte(body)))
}

var errHeader = errors.New("damaged")

// decodeHeader reads what encode wrote. All nil: there is no such property.
func decodeHeader(props icego.Properties, name string) (*header, pipeline.Vector, error) {
	key := headerKey(name)
	text, ok := props[key]
	if !ok {
		return nil, nil, nil
	}
	h := &header{}
	if err := json.Unmarshal([]byte(text), h); err != nil {
		return nil, nil, fmt.Errorf("property %s is %w: %w", key, errHeader, err)
	}
	if h.V > headerVersion {
		return nil, nil, fmt.Errorf("property %s has version %d, this binary knows versions up to %d", key, h.V, headerVersion)
	}
	var body strings.Builder
	for i := range h.N {
		chunk, ok := props[chunkKey(name, i)]
		if !ok {
			return nil, nil, fmt.Errorf("property %s is %w: chunk %d of %d is missing", key, errHeader, i, h.N)
		}
		body.WriteString(chunk)
	}
	open, ok := strings.CutSuffix(text, crcTail(h.CRC))
	if !ok || checksum(open+crcTail(""), body.String()) != h.CRC {
		return nil, nil, fmt.Errorf("property %s is %w: checksum does not match", key, errHeader)
	}
	v, err := pipeline.UnpackVector(body.String(), h.Src)
	if err != nil {
		return nil, nil, fmt.Errorf("property %s: %w", key, err)
	}
	return h, v, nil
}

// feeders returns, for every stream key in streams that another pipeline's
// register on the table names too, that pipeline.
func feeders(props icego.Properties, name string, streams []string) map[string]string {
	found := map[string]string{}
	for key, text := range props {
		other, ok := strings.CutPrefix(key, propPrefix)
		if !ok || other == name || strings.Contains(other, ".") { // chunks have a dot, pipeline names have none
			continue
		}
		var h struct {
			Src []string `json:"src"`
		}
		if json.Unmarshal([]byte(text), &h) != nil {
			continue
		}
		for _, s := range h.Src {
			for _, mine := range streams {
				if s == mine {
					found[s] = other
				}
			}
		}
	}
	return found
}
