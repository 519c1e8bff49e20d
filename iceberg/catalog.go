package iceberg

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	icego "github.com/apache/iceberg-go"
	icecat "github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/catalog/glue"
	"github.com/apache/iceberg-go/catalog/rest"
	sqlcat "github.com/apache/iceberg-go/catalog/sql"
	icetable "github.com/apache/iceberg-go/table"
	_ "github.com/jackc/pgx/v5/stdlib" // database/sql driver "pgx"
	_ "modernc.org/sqlite"             // database/sql driver "sqlite"

	"github.com/firehosed/firehosed/internal/awscfg"
)

// Catalog is what the sink needs of an Iceberg catalog. CommitTable is one
// attempt, linearizable per table. All of iceberg-go's catalogs implement it.
type Catalog interface {
	LoadTable(ctx context.Context, ident icetable.Identifier) (*icetable.Table, error)
	CreateTable(ctx context.Context, ident icetable.Identifier, sc *icego.Schema, opts ...icecat.CreateTableOpt) (*icetable.Table, error)
	CommitTable(ctx context.Context, ident icetable.Identifier, reqs []icetable.Requirement, ups []icetable.Update) (icetable.Metadata, string, error)
	CheckNamespaceExists(ctx context.Context, ns icetable.Identifier) (bool, error)
	CreateNamespace(ctx context.Context, ns icetable.Identifier, props icego.Properties) error
}

// catalogName is the name under which SQL catalogs keep their rows: whoever opens
// the same database, pyiceberg for one, has to use the same.
const catalogName = "default"

// catalog returns the catalog, which it opens on first use.
func (s *Sink) catalog(ctx context.Context) (Catalog, error) {
	if err := s.opening.take(ctx); err != nil {
		return nil, err
	}
	defer s.opening.give()
	if s.cat != nil {
		return s.cat, nil
	}
	cat, closer, err := openCatalog(s.withFiles(ctx), s.cfg)
	if err != nil {
		return nil, fmt.Errorf("open catalog %s: %w", s.cfg.CatalogAddress(), oneLine(err))
	}
	s.cat, s.closeCat = cat, closer
	return cat, nil
}

// relogin makes the next call open a new session if err says that cat's credentials
// no longer hold: the client itself asks for a new token only when the old one is due.
func (s *Sink) relogin(ctx context.Context, cat Catalog, err error) {
	if s.cfg.Catalog.REST == nil || !errors.Is(err, rest.ErrUnauthorized) && !errors.Is(err, rest.ErrAuthorizationExpired) {
		return
	}
	if s.opening.take(ctx) != nil {
		return
	}
	defer s.opening.give()
	if s.cat == cat {
		s.cat = nil // not closed: others may be in the middle of a call
	}
}

func openCatalog(ctx context.Context, cfg Config) (Catalog, func() error, error) {
	switch c := cfg.Catalog; {
	case c.REST != nil:
		cat, err := openREST(ctx, c.REST)
		if err != nil {
			return nil, nil, err
		}
		return cat, cat.Close, nil
	case c.Glue != nil:
		return openGlue(ctx, c.Glue)
	case c.Postgres != nil:
		db, err := sql.Open("pgx", c.Postgres.DSN)
		if err != nil {
			return nil, nil, err
		}
		return openSQL(db, sqlcat.Postgres)
	}
	path, err := sqlitePath(cfg)
	if err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, nil, err
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+
		"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate")
	if err != nil {
		return nil, nil, err
	}
	return openSQL(db, sqlcat.SQLite)
}

func openSQL(db *sql.DB, dialect sqlcat.SupportedDialect) (Catalog, func() error, error) {
	cat, err := sqlcat.NewCatalog(catalogName, db, dialect, icego.Properties{})
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return cat, func() error { return errors.Join(cat.Close(), db.Close()) }, nil
}

// sqlitePath returns the file of a SQLite catalog.
func sqlitePath(cfg Config) (string, error) {
	path := ""
	if cfg.Catalog.SQLite != nil {
		path = cfg.Catalog.SQLite.Path
	}
	if path == "" {
		path = filepath.Join(strings.TrimPrefix(cfg.Warehouse, "file://"), "catalog.db")
	}
	return filepath.Abs(path)
}

func openREST(ctx context.Context, c *RESTConfig) (*rest.Catalog, error) {
	var opts []rest.Option
	if c.Warehouse != "" {
		opts = append(opts, rest.WithWarehouseLocation(c.Warehouse))
	}
	if c.Credential != "" {
		opts = append(opts, rest.WithCredential(c.Credential))
	}
	if c.Token != "" {
		opts = append(opts, rest.WithOAuthToken(c.Token))
	}
	if c.Scope != "" {
		opts = append(opts, rest.WithScope(c.Scope))
	}
	if c.OAuthServer != "" {
		u, err := url.Parse(c.OAuthServer)
		if err != nil {
			return nil, fmt.Errorf("catalog.rest.oauth2_server_uri: %w", err)
		}
		opts = append(opts, rest.WithAuthURI(u))
	}
	if c.SigV4 != nil {
		conf, err := awscfg.Load(ctx, awscfg.Config{Region: c.SigV4.Region}, awscfg.Options{})
		if err != nil {
			return nil, err
		}
		opts = append(opts, rest.WithSigV4RegionSvc(c.SigV4.Region, c.SigV4.Service), rest.WithAwsConfig(conf))
	}
	return rest.NewCatalog(ctx, catalogName, c.URI, opts...)
}

func openGlue(ctx context.Context, c *GlueConfig) (Catalog, func() error, error) {
	conf, err := awscfg.Load(ctx, awscfg.Config{Region: c.Region, Endpoint: c.Endpoint}, awscfg.Options{})
	if err != nil {
		return nil, nil, err
	}
	props := glue.AwsProperties{}
	if c.CatalogID != "" {
		props[glue.CatalogIdKey] = c.CatalogID
	}
	cat, err := glue.NewCatalog(glue.WithAwsConfig(conf), glue.WithAwsProperties(props))
	if err != nil {
		return nil, nil, err
	}
	return cat, cat.Close, nil
}

// pacer spaces out commits, per table and over all.
type pacer struct {
	table, all time.Duration // least distance; 0: none

	mu struct {
		sync.Mutex
		next map[string]time.Time
		last time.Time
	}
}

func newPacer(perTable, perCatalog float64) *pacer {
	p := &pacer{table: gap(perTable), all: gap(perCatalog)}
	p.mu.next = map[string]time.Time{}
	return p
}

func gap(perSecond float64) time.Duration {
	if perSecond <= 0 {
		return 0
	}
	return time.Duration(float64(time.Second) / perSecond)
}

// wait returns when the table's next commit may be sent.
func (p *pacer) wait(ctx context.Context, table string) error {
	if p.table == 0 && p.all == 0 {
		return nil
	}
	p.mu.Lock()
	now := time.Now()
	at := now
	for _, t := range []time.Time{p.mu.next[table], p.mu.last} {
		if t.After(at) {
			at = t
		}
	}
	p.mu.next[table], p.mu.last = at.Add(p.table), at.Add(p.all)
	p.mu.Unlock()
	if at.Equal(now) {
		return nil
	}
	timer := time.NewTimer(at.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
