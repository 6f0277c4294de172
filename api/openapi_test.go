package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/bosman-cd/bosman/api"
)

var update = flag.Bool("update", false, "renew the golden file")

const golden = "openapi.json"

func document(t *testing.T) []byte {
	t.Helper()
	w := httptest.NewRecorder()
	api.New(api.Config{}).ServeHTTP(w, httptest.NewRequest("GET", "/api/openapi.json", nil))
	if w.Code != 200 {
		t.Fatalf("openapi.json: %d %s", w.Code, w.Body)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, w.Body.Bytes(), "", "  "); err != nil {
		t.Fatal(err)
	}
	return append(bytes.TrimSpace(out.Bytes()), '\n')
}

func TestOpenAPIIsCommitted(t *testing.T) {
	now := document(t)
	if *update {
		if err := os.WriteFile(golden, now, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	was, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(was, now) {
		t.Errorf("%s is stale; renew it with: go test ./api -run OpenAPI -update", golden)
	}
}

func TestOpenAPISaysEnough(t *testing.T) {
	var doc struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			OperationID string                     `json:"operationId"`
			Summary     string                     `json:"summary"`
			Tags        []string                   `json:"tags"`
			Responses   map[string]json.RawMessage `json:"responses"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(document(t), &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") || len(doc.Paths) < 40 {
		t.Fatalf("OpenAPI %s with %d paths", doc.OpenAPI, len(doc.Paths))
	}
	ids := map[string]string{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			at := method + " " + path
			if op.Summary == "" || len(op.Tags) != 1 || !strings.HasPrefix(path, "/api/v1/") {
				t.Errorf("%s: summary %q, tags %v", at, op.Summary, op.Tags)
			}
			if other, ok := ids[op.OperationID]; ok || op.OperationID == "" {
				t.Errorf("%s and %s are both %q", at, other, op.OperationID)
			}
			ids[op.OperationID] = at
			if !strings.Contains(string(op.Responses["default"]), "problem+json") {
				t.Errorf("%s does not say how it fails: %s", at, op.Responses["default"])
			}
		}
	}
}
