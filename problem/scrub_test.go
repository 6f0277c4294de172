package problem

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
)

func TestScrubbing(t *testing.T) {
	for name, secrets := range map[string][]string{
		"py-django-exception-store": {"4111111111111111", "hunter2", "s3cr3t", "sessionid=abc", `"abc"`, "csrftoken=def", `"password":"x"`},
		"py-django-chained-store":   {"hunter2", "s3cr3t", "sessionid=abc", `"abc"`},
	} {
		in, store, bodies := intake(t, nil)
		if w := send(in, fixture(t, name)); w.Code != http.StatusOK {
			t.Fatalf("%s: %d", name, w.Code)
		}
		r := store.last(t)
		body, err := bodies.Read(r.Event.Body)
		if err != nil {
			t.Fatal(err)
		}
		row, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range secrets {
			if bytes.Contains(body, []byte(s)) || bytes.Contains(row, []byte(s)) {
				t.Errorf("%s: %s was stored", name, s)
			}
		}
		for _, s := range []string{"orders/17/pay", "djapp.py", "Mozilla/5.0", "203.0.113.7"} {
			if name == "py-django-exception-store" && !bytes.Contains(body, []byte(s)) {
				t.Errorf("%s: %s was lost", name, s)
			}
		}
	}
}

func TestScrubText(t *testing.T) {
	s := newScrubber([]string{"pesel", "Employee-No"})
	for in, want := range map[string]string{
		"postgres://rms:geheim@db/rms":           "postgres://rms:[Filtered]@db/rms",
		"card 4111 1111 1111 1111 declined":      "card [Filtered] declined",
		"order 4111111111111112 is late":         "order 4111111111111112 is late",
		"Authorization: Bearer abcdef123456":     "Authorization: [Filtered] [Filtered]",
		"next=/a&api_key=zzz&x=1":                "next=/a&api_key=[Filtered]&x=1",
		`{"db_password": "p w", "user": "anna"}`: `{"db_password": [Filtered], "user": "anna"}`,
		"employee_no=77; x":                      "employee_no=[Filtered]; x",
		"token expired at noon":                  "token expired at noon",
		"Cookie: a=b; c=d":                       "Cookie: [Filtered]",
		"just words: nothing here":               "just words: nothing here",
	} {
		if got := s.text(in); got != want {
			t.Errorf("text(%q) = %q, want %q", in, got, want)
		}
	}
	for name, want := range map[string]bool{
		"password": true, "userPassword": true, "X-Api-Key": true, "authtoken": true, "author": false, "PESEL": true, "Cookie": true,
		"tokenizer": false, "employeeNo": true, "key": false, "session": false, "DATABASE_URL": true, "monkey": false, "in_app": false,
	} {
		if s.secret(name) != want {
			t.Errorf("secret(%q) = %v", name, !want)
		}
	}
}
