package objstoretest

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Fault is what becomes of a request to S3. The zero Fault: it is carried out.
type Fault struct {
	// Status and Code are answered. The request is not carried out unless Apply.
	Status int
	Code   string
	Header map[string]string // of the answer
	// Apply carries the request out before it fails.
	Apply bool
	// Drop closes the connection without an answer.
	Drop bool
	// Hang gives no answer until the client goes away.
	Hang bool
	// Corrupt changes a byte of the body: of the request, or of a GET's answer.
	Corrupt bool
	// Truncate cuts the answer of a GET in half.
	Truncate bool
}

// Request is a request to S3.
type Request struct {
	N   int    // counted from 1
	Op  string // PutObject, GetObject, HeadObject, DeleteObject, ListObjectsV2, ListMultipartUploads, CreateMultipartUpload, UploadPart, CompleteMultipartUpload, AbortMultipartUpload, GetBucketLifecycleConfiguration
	Key string
}

// S3 is a fake S3 server with one bucket, in path style. It knows conditional
// puts, multipart uploads, CRC32C, ranges, lists in pages of 3 and the headers of
// server-side encryption. It does not look at signatures.
type S3 struct {
	Endpoint string // its base URL
	Bucket   string

	mu      sync.Mutex
	n       int
	fault   func(Request) Fault
	demand  http.Header // headers that every object must ask for
	rules   string      // the bucket's lifecycle configuration; "": none
	silent  bool        // does not confirm encryption
	objects map[string]s3Object
	uploads map[string]*s3Upload
}

type s3Object struct {
	data   []byte
	etag   string
	crc    string
	time   time.Time
	header http.Header // metadata and encryption, echoed
}

type s3Upload struct {
	key    string
	parts  map[int][]byte
	header http.Header
	time   time.Time
}

// NewS3 starts a server for the time of a test.
func NewS3(t testing.TB) *S3 {
	s := &S3{Bucket: "lake", objects: map[string]s3Object{}, uploads: map[string]*s3Upload{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.Endpoint = server.URL
	return s
}

// SetFaults makes fault decide about every request from now on; nil: none fails.
// It must not call the server.
func (s *S3) SetFaults(fault func(Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Demand makes the server refuse objects that do not come with the headers, and
// confirm nothing of them if silent.
func (s *S3) Demand(headers map[string]string, silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.demand, s.silent = http.Header{}, silent
	for k, v := range headers {
		s.demand.Set(k, v)
	}
}

// SetLifecycle gives the bucket a lifecycle configuration, as its XML document.
func (s *S3) SetLifecycle(xml string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = xml
}

// Uploads returns how many uploads were begun and neither completed nor aborted.
func (s *S3) Uploads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.uploads)
}

// Requests returns how many requests there were.
func (s *S3) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func refuse(status int, code string) reply {
	return reply{status: status, body: toXML("Error", struct{ Code, Message string }{code, "the fake says so"})}
}

func toXML(name string, v any) []byte {
	var b bytes.Buffer
	e := xml.NewEncoder(&b)
	if err := e.EncodeElement(v, xml.StartElement{Name: xml.Name{Local: name}}); err != nil {
		panic("BUG: " + err.Error())
	}
	return b.Bytes()
}

// ServeHTTP implements http.Handler.
func (s *S3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	req := Request{Op: operation(r, key), Key: key}
	f := s.decide(&req)
	if f.Corrupt && len(body) > 0 {
		body[len(body)/2] ^= 1
	}
	var answer reply
	failed := f.Status != 0 || f.Drop || f.Hang
	switch {
	case failed && !f.Apply:
	case bucket != s.Bucket:
		answer = refuse(404, "NoSuchBucket")
	default:
		answer = s.do(req.Op, key, r, body)
	}
	switch {
	case f.Hang:
		<-r.Context().Done()
		return
	case f.Drop:
		panic(http.ErrAbortHandler)
	case f.Status != 0:
		answer = refuse(f.Status, f.Code)
		for k, v := range f.Header {
			w.Header().Set(k, v)
		}
	}
	send(w, r, answer, f)
}

func send(w http.ResponseWriter, r *http.Request, answer reply, f Fault) {
	for k, v := range answer.header {
		w.Header()[k] = v
	}
	if r.Method != http.MethodHead {
		w.Header().Set("Content-Length", strconv.Itoa(len(answer.body)))
	}
	w.WriteHeader(answer.status)
	body := answer.body
	if f.Corrupt && r.Method == http.MethodGet && len(body) > 0 {
		body = bytes.Clone(body)
		body[len(body)/2] ^= 1
	}
	if f.Truncate && r.Method == http.MethodGet {
		w.Write(body[:len(body)/2])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

func (s *S3) decide(req *Request) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	req.N = s.n
	if s.fault == nil {
		return Fault{}
	}
	return s.fault(*req)
}

func operation(r *http.Request, key string) string {
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodGet && q.Has("uploads"):
		return "ListMultipartUploads"
	case r.Method == http.MethodGet && q.Has("lifecycle"):
		return "GetBucketLifecycleConfiguration"
	case r.Method == http.MethodGet && key == "":
		return "ListObjectsV2"
	case r.Method == http.MethodGet:
		return "GetObject"
	case r.Method == http.MethodHead:
		return "HeadObject"
	case r.Method == http.MethodPut && q.Has("partNumber"):
		return "UploadPart"
	case r.Method == http.MethodPut:
		return "PutObject"
	case r.Method == http.MethodPost && q.Has("uploads"):
		return "CreateMultipartUpload"
	case r.Method == http.MethodPost && q.Has("uploadId"):
		return "CompleteMultipartUpload"
	case r.Method == http.MethodDelete && q.Has("uploadId"):
		return "AbortMultipartUpload"
	case r.Method == http.MethodDelete:
		return "DeleteObject"
	}
	return r.Method
}

func (s *S3) do(op, key string, r *http.Request, body []byte) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.Contains(r.Header.Get("Content-Encoding"), "aws-chunked") {
		return refuse(501, "NotImplemented")
	}
	switch op {
	case "GetObject", "HeadObject":
		return s.get(key, r)
	case "PutObject":
		return s.put(key, r, body)
	case "DeleteObject":
		delete(s.objects, key)
		return reply{status: 204}
	case "ListObjectsV2":
		return s.list(r)
	case "ListMultipartUploads":
		return s.listUploads(r)
	case "GetBucketLifecycleConfiguration":
		if s.rules == "" {
			return refuse(404, "NoSuchLifecycleConfiguration")
		}
		return reply{status: 200, body: []byte(s.rules)}
	case "CreateMultipartUpload":
		return s.createUpload(key, r)
	case "UploadPart":
		return s.uploadPart(key, r, body)
	case "CompleteMultipartUpload":
		return s.completeUpload(key, r, body)
	case "AbortMultipartUpload":
		id := r.URL.Query().Get("uploadId")
		if _, ok := s.uploads[id]; !ok {
			return refuse(404, "NoSuchUpload")
		}
		delete(s.uploads, id)
		return reply{status: 204}
	}
	return refuse(501, "NotImplemented")
}

func (s *S3) get(key string, r *http.Request) reply {
	o, ok := s.objects[key]
	if !ok {
		return refuse(404, "NoSuchKey")
	}
	h := o.header.Clone()
	h.Set("ETag", o.etag)
	h.Set("Last-Modified", o.time.UTC().Format(http.TimeFormat))
	if r.Method == http.MethodHead {
		h.Set("Content-Length", strconv.Itoa(len(o.data)))
		return reply{status: 200, header: h}
	}
	var from, to int
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); n == 2 {
		if from >= len(o.data) {
			return refuse(416, "InvalidRange")
		}
		return reply{206, h, o.data[from:min(to+1, len(o.data))]}
	}
	if r.Header.Get("X-Amz-Checksum-Mode") == "ENABLED" {
		h.Set("X-Amz-Checksum-Crc32c", o.crc)
	}
	return reply{200, h, o.data}
}

func (s *S3) put(key string, r *http.Request, body []byte) reply {
	old, ok := s.objects[key]
	if match := r.Header.Get("If-Match"); match != "" && !ok {
		return refuse(404, "NoSuchKey")
	} else if match != "" && match != old.etag || r.Header.Get("If-None-Match") == "*" && ok {
		return refuse(412, "PreconditionFailed")
	}
	h, refused := s.accept(r)
	if refused != nil {
		return *refused
	}
	sum := sum32(body)
	if sent := r.Header.Get("X-Amz-Checksum-Crc32c"); sent != "" && sent != sum {
		return refuse(400, "BadDigest")
	}
	md := md5.Sum(body)
	o := s3Object{data: body, etag: strconv.Quote(hex.EncodeToString(md[:])), crc: sum, time: time.Now(), header: h}
	s.objects[key] = o
	h = h.Clone()
	h.Set("ETag", o.etag)
	if r.Header.Get("X-Amz-Checksum-Crc32c") != "" {
		h.Set("X-Amz-Checksum-Crc32c", sum)
	}
	return reply{status: 200, header: h}
}

const encryption = "X-Amz-Server-Side-Encryption"

// accept checks what a new object asks for, and returns what is kept of it.
func (s *S3) accept(r *http.Request) (http.Header, *reply) {
	for k, v := range s.demand {
		if r.Header.Get(k) != v[0] {
			refused := refuse(403, "AccessDenied")
			return nil, &refused
		}
	}
	h := http.Header{}
	for k, v := range r.Header {
		if strings.HasPrefix(k, "X-Amz-Meta-") || strings.HasPrefix(k, encryption) && !s.silent {
			h[k] = v
		}
	}
	return h, nil
}

func sum32(data []byte) string {
	sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}

func (s *S3) createUpload(key string, r *http.Request) reply {
	h, refused := s.accept(r)
	if refused != nil {
		return *refused
	}
	id := fmt.Sprintf("upload-%d", s.n)
	s.uploads[id] = &s3Upload{key: key, parts: map[int][]byte{}, header: h, time: time.Now()}
	return reply{200, h, toXML("InitiateMultipartUploadResult", struct{ UploadId string }{id})}
}

func (s *S3) uploadPart(key string, r *http.Request, body []byte) reply {
	q := r.URL.Query()
	u, ok := s.uploads[q.Get("uploadId")]
	if !ok || u.key != key {
		return refuse(404, "NoSuchUpload")
	}
	sum := sum32(body)
	if sent := r.Header.Get("X-Amz-Checksum-Crc32c"); sent != "" && sent != sum {
		return refuse(400, "BadDigest")
	}
	n, err := strconv.Atoi(q.Get("partNumber"))
	if err != nil || n < 1 || n > 10_000 {
		return refuse(400, "InvalidArgument")
	}
	u.parts[n] = body
	md := md5.Sum(body)
	h := http.Header{"Etag": {strconv.Quote(hex.EncodeToString(md[:]))}}
	if r.Header.Get("X-Amz-Checksum-Crc32c") != "" {
		h.Set("X-Amz-Checksum-Crc32c", sum)
	}
	return reply{status: 200, header: h}
}

func (s *S3) completeUpload(key string, r *http.Request, body []byte) reply {
	id := r.URL.Query().Get("uploadId")
	u, ok := s.uploads[id]
	if !ok || u.key != key {
		return refuse(404, "NoSuchUpload")
	}
	var in struct {
		Part []struct {
			PartNumber     int
			ETag           string
			ChecksumCRC32C string
		}
	}
	if err := xml.Unmarshal(body, &in); err != nil || len(in.Part) == 0 {
		return refuse(400, "MalformedXML")
	}
	var data, sums, digests []byte
	for i, p := range in.Part {
		part, ok := u.parts[p.PartNumber]
		md := md5.Sum(part)
		if !ok || p.ETag != strconv.Quote(hex.EncodeToString(md[:])) || p.ChecksumCRC32C != "" && p.ChecksumCRC32C != sum32(part) {
			return refuse(400, "InvalidPart")
		}
		if i < len(in.Part)-1 && len(part) < 5<<20 {
			return refuse(400, "EntityTooSmall")
		}
		data = append(data, part...)
		digests = append(digests, md[:]...)
		sums = binary.BigEndian.AppendUint32(sums, crc32.Checksum(part, crc32.MakeTable(crc32.Castagnoli)))
	}
	md := md5.Sum(digests)
	o := s3Object{data: data, time: time.Now(), header: u.header,
		etag: fmt.Sprintf("%q", fmt.Sprintf("%x-%d", md, len(in.Part))),
		crc:  fmt.Sprintf("%s-%d", sum32(sums), len(in.Part))}
	s.objects[key] = o
	delete(s.uploads, id)
	return reply{200, u.header, toXML("CompleteMultipartUploadResult", struct{ Key, ETag, ChecksumCRC32C string }{key, o.etag, o.crc})}
}

func (s *S3) listUploads(r *http.Request) reply {
	q := r.URL.Query()
	type upload struct{ Key, UploadId, Initiated string }
	var all []upload
	for id, u := range s.uploads {
		if strings.HasPrefix(u.key, q.Get("prefix")) && u.key+id > q.Get("key-marker")+q.Get("upload-id-marker") {
			all = append(all, upload{u.key, id, u.time.UTC().Format("2006-01-02T15:04:05.000Z")})
		}
	}
	slices.SortFunc(all, func(a, b upload) int { return strings.Compare(a.Key+a.UploadId, b.Key+b.UploadId) })
	var out struct {
		IsTruncated        bool
		NextKeyMarker      string `xml:",omitempty"`
		NextUploadIdMarker string `xml:",omitempty"`
		Upload             []upload
	}
	if len(all) > page {
		all = all[:page]
		out.IsTruncated, out.NextKeyMarker, out.NextUploadIdMarker = true, all[page-1].Key, all[page-1].UploadId
	}
	out.Upload = all
	return reply{status: 200, body: toXML("ListMultipartUploadsResult", out)}
}

// page is the length of a list's answer.
const page = 3

func (s *S3) list(r *http.Request) reply {
	q := r.URL.Query()
	after := max(q.Get("start-after"), q.Get("continuation-token"))
	var keys []string
	for key := range s.objects {
		if strings.HasPrefix(key, q.Get("prefix")) && key > after {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	type content struct {
		Key          string
		Size         int
		LastModified string
	}
	var out struct {
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []content
	}
	if len(keys) > page {
		keys = keys[:page]
		out.IsTruncated, out.NextContinuationToken = true, keys[page-1]
	}
	for _, key := range keys {
		o := s.objects[key]
		out.Contents = append(out.Contents, content{key, len(o.data), o.time.UTC().Format("2006-01-02T15:04:05.000Z")})
	}
	return reply{200, http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}}, toXML("ListBucketResult", out)}
}
