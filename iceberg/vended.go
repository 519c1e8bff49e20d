package iceberg

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	icetable "github.com/apache/iceberg-go/table"
	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/firehosed/firehosed/internal/objstore"
)

// A REST catalog may hand out credentials with a table, for the store that the table
// is in. They are used below the table's location, unless the configuration names
// credentials itself: keys or a role. Whatever is elsewhere, the control prefix above
// all, is reached with the configuration's.

// vendedLife is how long credentials are used whose end the catalog does not tell.
const vendedLife = 30 * time.Minute

// grant is what a catalog handed out for one table. It is the credentials provider
// of the requests to that table's store.
type grant struct {
	location string                          // of the table, with a slash at the end
	renew    func(ctx context.Context) error // has the catalog hand out others
	renewing turn

	mu struct {
		sync.Mutex
		props   map[string]string
		renewAt time.Time
		ends    time.Time
	}
}

var _ aws.CredentialsProvider = (*grant)(nil)

// Properties of a table's configuration, as the REST protocol and its clients name them.
const (
	vendedKey     = "s3.access-key-id"
	vendedSecret  = "s3.secret-access-key"
	vendedToken   = "s3.session-token"
	vendedEnds    = "s3.session-token-expires-at-ms"
	vendedRegion  = "s3.region"
	clientRegion  = "client.region"
	vendedURL     = "s3.endpoint"
	vendedByPaths = "s3.path-style-access"
)

// vends reports whether credentials of the catalog are to be used.
func (c Config) vends() bool {
	return c.Catalog.REST != nil && c.S3.AWS.AccessKeyID == "" && c.S3.AWS.AssumeRole.ARN == ""
}

type propsKey struct{}

// accredit notes the credentials that came with a table, if any did.
func (t *table) accredit(ctx context.Context, tbl *icetable.Table) error {
	if local, err := isLocal(tbl.Location()); local || err != nil || !t.sink.cfg.vends() {
		return nil //nolint:nilerr // a location that is none of a store fails where it is opened
	}
	var props map[string]string // of the catalog, the table and the credentials, in this order
	if _, err := tbl.FS(context.WithValue(t.sink.withFiles(ctx), propsKey{}, &props)); err != nil {
		return fmt.Errorf("credentials of table %s: %w", t.name, err)
	}
	if props[vendedKey] == "" || props[vendedSecret] == "" { // without a key nothing else of it counts: ours goes nowhere else
		return nil
	}
	t.sink.storage.grant(tbl.Location(), props, func(ctx context.Context) error {
		cat, err := t.sink.catalog(ctx)
		if err != nil {
			return err
		}
		tbl, err := cat.LoadTable(t.sink.withFiles(ctx), t.ident)
		if err != nil {
			t.sink.relogin(ctx, cat, err)
			return fmt.Errorf("load table %s: %w", t.name, err)
		}
		return t.accredit(ctx, tbl)
	})
	return nil
}

// grant notes what was handed out for the table at a location.
func (s *storage) grant(location string, props map[string]string, renew func(ctx context.Context) error) {
	location = strings.TrimSuffix(location, "/") + "/"
	s.mu.Lock()
	g := s.mu.grants[location]
	if g == nil {
		g = &grant{location: location, renew: renew, renewing: newTurn()}
		s.mu.grants[location] = g
	}
	s.mu.Unlock()
	g.set(props)
}

// granted returns the grant that holds for a location, nil if there is none.
func (s *storage) granted(location string) (best *grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for prefix, g := range s.mu.grants {
		if strings.HasPrefix(location, prefix) && (best == nil || len(prefix) > len(best.location)) {
			best = g
		}
	}
	return best
}

// set takes over what was handed out just now.
func (g *grant) set(props map[string]string) {
	now := time.Now()
	ends := now.Add(vendedLife)
	if ms, err := strconv.ParseInt(props[vendedEnds], 10, 64); err == nil && ms > 0 {
		ends = time.UnixMilli(ms)
	}
	life := ends.Sub(now)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.props, g.mu.ends = props, ends
	g.mu.renewAt = now.Add(max(life/2, life-5*time.Minute))
}

// due returns the credentials, and whether they shall be renewed.
func (g *grant) due() (c aws.Credentials, due bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.mu.props
	c = aws.Credentials{
		AccessKeyID: p[vendedKey], SecretAccessKey: p[vendedSecret], SessionToken: p[vendedToken],
		CanExpire: true, Expires: g.mu.ends, Source: "catalog",
	}
	return c, !time.Now().Before(g.mu.renewAt)
}

// Retrieve implements aws.CredentialsProvider. Credentials that are about to end are
// renewed by one caller; if that fails, they are used to their end.
func (g *grant) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, due := g.due()
	if !due {
		return c, nil
	}
	if err := g.renewing.take(ctx); err != nil {
		return aws.Credentials{}, err
	}
	defer g.renewing.give()
	if c, due = g.due(); !due {
		return c, nil
	}
	err := g.renew(ctx)
	if c, due = g.due(); !due || time.Now().Before(c.Expires) {
		return c, nil
	}
	if err == nil {
		err = errors.New("it hands out none that hold")
	}
	return aws.Credentials{}, fmt.Errorf("the credentials that the catalog handed out for %s have ended: %w", g.location, err)
}

// reach returns how the store of the grant is reached: as the configuration says,
// and where that says nothing, as the catalog does.
func (g *grant) reach(cfg objstore.Config) objstore.Config {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.mu.props
	first := func(texts ...string) string {
		for _, text := range texts {
			if text != "" {
				return text
			}
		}
		return ""
	}
	if cfg.AWS.Endpoint == "" && p[vendedURL] != "" {
		cfg.AWS.Endpoint = p[vendedURL]
		cfg.PathStyle = cfg.PathStyle || p[vendedByPaths] == "true"
	}
	cfg.AWS.Region = first(cfg.AWS.Region, p[vendedRegion], p[clientRegion])
	return cfg
}
