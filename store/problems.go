package store

import (
	"context"
	"slices"
	"time"

	"github.com/bosman-cd/bosman"
)

// SaveProblem inserts or replaces a problem.
func (s *Store) SaveProblem(ctx context.Context, p bosman.Problem) error {
	return save(ctx, s.db, &problemRow{Problem: p}, "app, number")
}

// Problem gives one problem.
func (s *Store) Problem(ctx context.Context, app string, number int) (bosman.Problem, error) {
	return one[problemRow, bosman.Problem](ctx, s.db, bosman.NotFound("%s has no problem %s", app, bosman.Ref(bosman.LetterProblem, number)), cond("app = ? AND number = ?", app, number))
}

// Problems gives an app's problems, latest first; resolved ones only if asked.
func (s *Store) Problems(ctx context.Context, app string, resolved bool, max int) ([]bosman.Problem, error) {
	return many[problemRow, bosman.Problem](ctx, s.db, cond("(? = '' OR app = ?) AND (? OR resolved_at < '0002-01-01')", app, app, resolved), order("last_at DESC"), limit(max))
}

// ProblemByHash gives the problem of an app with the fine hash (if there is
// one) or else the coarse one.
func (s *Store) ProblemByHash(ctx context.Context, app, fine, coarse string) (bosman.Problem, error) {
	return one[problemRow, bosman.Problem](ctx, s.db, bosman.NotFound("no problem has that hash"),
		cond("app = ? AND ((fine = ? AND fine <> '') OR (coarse = ? AND (? = '' OR fine = '')))", app, fine, coarse, fine),
		order("number"))
}

// SaveErrorEvent adds an event of a problem and updates the problem's counts;
// added is false when an event of that id was there before.
func (s *Store) SaveErrorEvent(ctx context.Context, e bosman.ErrorEvent, fine, coarse, title, culprit, key string) (problem bosman.Problem, isNew, added bool, err error) {
	err = s.InTx(ctx, func(s *Store) error {
		problem, err = s.ProblemByHash(ctx, e.App, fine, coarse)
		switch bosman.KindOf(err) {
		case "":
		case bosman.KindNotFound:
			isNew = true
			n, err := s.Next(ctx, e.App, bosman.LetterProblem)
			if err != nil {
				return err
			}
			problem = bosman.Problem{App: e.App, Number: n, Title: title, Culprit: culprit, Fine: fine, Coarse: coarse, Key: key, FirstRelease: e.Release, FirstAt: e.At}
		default:
			return err
		}
		e.Problem = problem.Number
		res, err := s.db.NewInsert().Model(&errorEventRow{ErrorEvent: e}).On("CONFLICT DO NOTHING").Exec(ctx)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if added = n == 1; !added {
			return nil
		}
		if problem.Users, err = s.problemUsers(ctx, problem); err != nil {
			return err
		}
		count(&problem, e)
		return s.SaveProblem(ctx, problem)
	})
	return problem, isNew && added, added, err
}

// count adds an event to a problem.
func count(p *bosman.Problem, e bosman.ErrorEvent) {
	p.Events++
	p.Level = e.Level
	p.LastAt = e.At
	if e.Release > p.LastRelease {
		p.LastRelease = e.Release
	}
	if e.Instance != "" && !slices.Contains(p.Instances, e.Instance) {
		p.Instances = append(p.Instances, e.Instance)
	}
	if !p.ResolvedAt.IsZero() && e.At.After(p.ResolvedAt) {
		p.ResolvedAt, p.ResolvedBy, p.Regressed = time.Time{}, "", true
	}
}

func (s *Store) problemUsers(ctx context.Context, p bosman.Problem) (int64, error) {
	var n int64
	err := s.db.NewRaw("SELECT count(DISTINCT user) FROM error_events WHERE app = ? AND problem = ? AND user <> ''", p.App, p.Number).Scan(ctx, &n)
	return n, err
}

// ErrorEvents gives the events of a problem, newest first.
func (s *Store) ErrorEvents(ctx context.Context, app string, problem, max int) ([]bosman.ErrorEvent, error) {
	return many[errorEventRow, bosman.ErrorEvent](ctx, s.db, cond("app = ? AND problem = ?", app, problem), order("received_at DESC"), limit(max))
}

// CountErrors gives how many events of level error or worse an instance
// reported for a release since a moment.
func (s *Store) CountErrors(ctx context.Context, app, instance string, release int, since time.Time) (int, error) {
	var n int
	err := s.db.NewRaw(`SELECT count(*) FROM error_events WHERE app = ? AND instance = ? AND release = ? AND received_at >= ? AND level IN ('error', 'fatal')`,
		app, instance, release, since.UTC()).Scan(ctx, &n)
	return n, err
}

// AddCount adds to a counter of an instance in the hour of at: sessions,
// reports that clients dropped, reports refused.
func (s *Store) AddCount(ctx context.Context, app, instance string, release int, name string, n int64, at time.Time) error {
	_, err := s.db.NewRaw(`INSERT INTO counts (app, instance, release, name, hour, n) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (app, instance, release, name, hour) DO UPDATE SET n = counts.n + excluded.n`,
		app, instance, release, name, at.UTC().Truncate(time.Hour), n).Exec(ctx)
	return err
}

// AddMail keeps a caught message.
func (s *Store) AddMail(ctx context.Context, m bosman.Mail) error {
	_, err := s.db.NewInsert().Model(&mailRow{Mail: m}).ExcludeColumn("id").Exec(ctx)
	return err
}

// Mails gives the messages caught from an instance, newest first.
func (s *Store) Mails(ctx context.Context, app, instance string, max int) ([]bosman.Mail, error) {
	return many[mailRow, bosman.Mail](ctx, s.db, cond("app = ? AND instance = ?", app, instance), order("id DESC"), limit(max))
}

// Mail gives one caught message.
func (s *Store) Mail(ctx context.Context, app string, id int64) (bosman.Mail, error) {
	return one[mailRow, bosman.Mail](ctx, s.db, bosman.NotFound("there is no such message"), cond("app = ? AND id = ?", app, id))
}
