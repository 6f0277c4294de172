// Command devserver shows the pages with the data of a story, to look at them
// while they are made: go run ./web/internal/devserver. It is not part of the
// product.
package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/bosman-cd/bosman"
	"github.com/bosman-cd/bosman/access"
	"github.com/bosman-cd/bosman/web"
	"github.com/bosman-cd/bosman/web/internal/story"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	addr := flag.String("addr", "127.0.0.1:8099", "where to listen")
	empty := flag.Bool("empty", false, "an installation without apps")
	extreme := flag.Bool("extreme", false, "all that is listed is long and much")
	adopted := flag.Bool("adopted", false, "live's database is one that Bosman did not make")
	as := flag.String("as", "", "be logged in as this person")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := story.Dir()
	if err != nil {
		return err
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			slog.Error("clean up", "err", err)
		}
	}()
	s := story.New(time.Now())
	s.WaitFor = "the deploy window (Mon-Fri 09:00-15:00) opens Tue 24 Nov 09:00 CET"
	if *adopted {
		s.Adopt()
	}
	if *extreme {
		s.Extreme()
	}
	if *empty {
		s.AppList, s.Jobs, s.Lines = nil, nil, nil
	}
	if err := s.WriteLogs(dir); err != nil {
		return err
	}
	hash, err := access.HashPassword("correct horse")
	if err != nil {
		return err
	}
	for n := range s.Persons {
		s.Persons[n].PasswordHash = hash
	}
	db, err := story.Sessions(dir)
	if err != nil {
		return err
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	events := story.NewEvents()
	w := web.New(web.Config{
		Helm: s, People: story.Knows{Story: s}, Events: events, Sessions: db, Logs: story.Logs{Dir: dir}, Stats: story.Stats{Now: s.Now}, Wall: key,
		Base: "http://localhost:8080", Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	handler, err := loggedIn(w, *as)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: *addr, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		tick := time.NewTicker(2 * time.Second)
		defer tick.Stop()
		for ctx.Err() == nil {
			select {
			case <-tick.C:
				events.Add("rms", bosman.EventBuildUpdated, "b419")
			case <-ctx.Done():
			}
		}
		w.Close()
		if err := server.Close(); err != nil {
			slog.Error("close", "err", err)
		}
	}()
	fmt.Println("http://"+*addr, "as anna, jan, maria, piotr or zofia; password: correct horse")
	if err := server.ListenAndServe(); err != nil && err != http.ErrServerClosed {
		return err
	}
	return db.Close()
}

// loggedIn gives every request the cookie of a person who logged in.
func loggedIn(h http.Handler, name string) (http.Handler, error) {
	if name == "" {
		return h, nil
	}
	body := strings.NewReader(url.Values{"name": {name}, "password": {"correct horse"}}.Encode())
	r := httptest.NewRequest(http.MethodPost, "/login", body)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	cookies := answer.Result().Cookies()
	if len(cookies) == 0 {
		return nil, fmt.Errorf("%s could not log in: %s", name, answer.Result().Status)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Cookie", cookies[0].Name+"="+cookies[0].Value)
		h.ServeHTTP(w, r)
	}), nil
}
