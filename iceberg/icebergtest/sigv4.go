package icebergtest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Signed is what requests have to be signed with, by AWS Signature Version 4. The
// signature is computed here anew, from the documentation, with no code of the SDK.
type Signed struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Region, Service                            string
}

// skew is how far the clock of a client may be off.
const skew = 5 * time.Minute

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$`)

// verify reads the body of r, puts it back, and says what is wrong with the signature.
func (s Signed) verify(r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	m := authorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return fmt.Errorf("the request is not signed: Authorization is %q", r.Header.Get("Authorization"))
	}
	key, day, region, service, names, signature := m[1], m[2], m[3], m[4], strings.Split(m[5], ";"), m[6]
	stamp := r.Header.Get("X-Amz-Date")
	at, err := time.Parse("20060102T150405Z", stamp)
	switch {
	case err != nil || !strings.HasPrefix(stamp, day):
		return fmt.Errorf("the date %q is not that of the credential, %s", stamp, day)
	case time.Since(at).Abs() > skew:
		return fmt.Errorf("the signature has expired: it is of %s", stamp)
	case key != s.AccessKeyID || r.Header.Get("X-Amz-Security-Token") != s.SessionToken:
		return fmt.Errorf("the security token of %s is not valid", key)
	case region != s.Region || service != s.Service:
		return fmt.Errorf("the credential is scoped to %s/%s, not %s/%s", region, service, s.Region, s.Service)
	}
	for _, must := range []string{"host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "x-amz-target"} {
		if _, sent := r.Header[http.CanonicalHeaderKey(must)]; (sent || must == "host") && !slices.Contains(names, must) {
			return fmt.Errorf("the header %s is not signed", must)
		}
	}
	sum := hash(body)
	if told := r.Header.Get("X-Amz-Content-Sha256"); told != "" && told != sum {
		return errors.New("the body is not the one that was signed")
	}
	scope := strings.Join([]string{day, region, service, "aws4_request"}, "/")
	text := strings.Join([]string{"AWS4-HMAC-SHA256", stamp, scope, hash([]byte(canonical(r, names, sum)))}, "\n")
	mac := []byte("AWS4" + s.SecretAccessKey)
	for _, part := range []string{day, region, service, "aws4_request", text} {
		mac = sign(mac, part)
	}
	if !hmac.Equal([]byte(hex.EncodeToString(mac)), []byte(signature)) {
		return errors.New("the signature does not match")
	}
	return nil
}

// canonical is the request as it is signed. Other than for S3, paths are escaped twice.
func canonical(r *http.Request, names []string, sum string) string {
	path, query, _ := strings.Cut(r.RequestURI, "?")
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%s\n", r.Method, strings.ReplaceAll(escape(path), "%2F", "/"), canonicalQuery(query))
	for _, name := range names {
		values := r.Header.Values(name)
		switch name {
		case "host":
			values = []string{r.Host}
		case "content-length":
			values = []string{fmt.Sprint(r.ContentLength)}
		}
		fmt.Fprintf(&b, "%s:%s\n", name, strings.Join(strings.Fields(strings.Join(values, ",")), " "))
	}
	fmt.Fprintf(&b, "\n%s\n%s", strings.Join(names, ";"), sum)
	return b.String()
}

func canonicalQuery(raw string) string {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return raw
	}
	var pairs []string
	for k, vs := range values {
		for _, v := range vs {
			pairs = append(pairs, escape(k)+"="+escape(v))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// escape leaves A-Z, a-z, 0-9, -, ., _ and ~ as they are.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func sign(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text)) // a hash never fails
	return mac.Sum(nil)
}
