package serve

import (
	"context"
	"slices"
	"strings"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/database"
	"github.com/bosman-cd/bosman/deploy"
)

// markDeleted remembers how many rows were deleted from each table until now,
// where the server counts them.
func (d *databases) markDeleted(ctx context.Context, i bosman.Instance, m *marks, moment deploy.Moment) error {
	if moment == deploy.MomentBackup {
		return nil
	}
	k, err := d.keeper(ctx, i, i.Database.Engine)
	if err != nil {
		return err
	}
	c, ok := k.Engine.(database.DeletionCounter)
	if !ok {
		return nil
	}
	if m.Deleted == nil {
		m.Deleted = map[deploy.Moment]map[string]int64{}
	}
	m.Deleted[moment], err = c.Deleted(ctx, i.Database)
	return err
}

// Removed says which tables lost rows while the release command ran: rows that
// were deleted, and tables that were emptied under the same schema.
func (d *databases) Removed(_ context.Context, i bosman.Instance, operation int) (string, error) {
	m, err := d.readMarks(i, operation)
	if err != nil {
		return "", err
	}
	return m.removed(), nil
}

func (m marks) removed() string {
	var tables []string
	for table, n := range m.Deleted[deploy.MomentMigrated] {
		if before, there := m.Deleted[deploy.MomentMigrate][table]; there && n > before {
			tables = append(tables, table)
		}
	}
	before, now := m.Traces[deploy.MomentMigrate], m.Traces[deploy.MomentMigrated]
	for what, trace := range before {
		is, there := now[what]
		table := what != traceFiles && !strings.HasSuffix(what, database.TraceObjects) && !strings.HasSuffix(what, database.TraceSchema)
		if there && table && is != trace && before[database.TraceSchema] == now[database.TraceSchema] && !slices.Contains(tables, what) {
			tables = append(tables, what)
		}
	}
	if len(tables) == 0 {
		return ""
	}
	slices.Sort(tables)
	const shown = 3
	more := ""
	if len(tables) > shown {
		tables, more = tables[:shown], " and others"
	}
	return "rows of " + strings.Join(tables, ", ") + more + " were deleted while the release command ran"
}
