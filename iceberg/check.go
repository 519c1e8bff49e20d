package iceberg

import (
	"context"
	"fmt"

	"github.com/firehosed/firehosed/internal/objstore"
)

// probeKey is below the warehouse, where no table is: probes that may not be
// removed stay there.
const probeKey = "/_firehosed/_probe/"

// CheckWarehouse reports whether the warehouse can be written to and read. It
// leaves nothing behind where it may delete.
func (s *Sink) CheckWarehouse(ctx context.Context) error {
	b, key, err := s.storage.at(ctx, s.cfg.Warehouse+probeKey+newID().String())
	if err != nil {
		return err
	}
	if _, err := b.Put(ctx, key, []byte("probe"), objstore.Always); err != nil {
		return fmt.Errorf("write to %s: %w", s.cfg.Warehouse, err)
	}
	if _, _, err := b.Get(ctx, key); err != nil {
		return fmt.Errorf("read from %s: %w", s.cfg.Warehouse, err)
	}
	_ = b.Delete(ctx, key) // leave to delete is not needed
	return nil
}

// CheckCatalog reports whether the catalog can be opened and answers.
func (s *Sink) CheckCatalog(ctx context.Context) error {
	cat, err := s.catalog(ctx)
	if err != nil {
		return err
	}
	if _, err := cat.CheckNamespaceExists(s.withFiles(ctx), []string{s.cfg.Namespace}); err != nil {
		return fmt.Errorf("look up namespace %s: %w", s.cfg.Namespace, err)
	}
	return nil
}
