package archtest

// row says which of Bosman's own folders a folder may import, itself and
// internal/ aside; "." are the nouns. The longest folder that fits rules.
type row struct {
	folder  string
	imports []string
	why     string
}

const stage = "a stage knows the nouns, steps and the small interfaces it declares: so it can be read, tested and replaced alone; serve ties stages together"

var rows = []row{
	{".", nil, "the nouns are what all others share: they use the standard library only and do no input or output"},
	{"internal", nil, "what all may use must know none of them"},

	{"source", []string{"."}, stage},
	{"forge", []string{"."}, stage},
	{"build", []string{"."}, stage},
	{"migration", []string{"."}, stage},
	{"release", []string{"."}, stage},
	{"database", []string{"."}, stage},
	{"database/ground", []string{"."}, "what every database server stands on must not know any kind of server"},
	{"deploy", []string{".", "steps"}, stage},
	{"instance", []string{"."}, stage},
	{"edge", []string{"."}, stage},
	{"watch", []string{"."}, stage},
	{"problem", []string{"."}, stage},
	{"mailsink", []string{"."}, stage},
	{"notify", []string{"."}, stage},
	{"manifest", []string{"."}, stage},
	{"access", []string{"."}, stage},
	{"secret", []string{"."}, stage},
	{"vault", []string{"."}, stage},
	{"custody", []string{".", "vault"}, "what Bosman itself needs to serve again is kept in the vault; how it is gathered is told by serve"},

	{"steps", []string{"."}, "the durable engine must not know what a plan does"},
	{"store", []string{"."}, "what a row means is the business of those who save it"},
	{
		"helm",
		[]string{".", "access", "forge", "manifest", "notify", "secret", "source", "store"},
		"helm is permission, transaction, stage: it reaches the working stages (build, deploy, instance, edge ...) through its own interfaces",
	},

	{
		"api",
		[]string{".", "access", "api/wire", "helm", "notify"},
		"handlers call helm only: a second way to a stage would be one without permission and activity; access makes keys, notify has the shape of a target that helm takes",
	},
	{"api/wire", []string{"."}, "the shapes that travel are shared by server and client and must drag in neither"},
	{"api/client", []string{".", "api/wire"}, "the command line must not carry the server"},
	{
		"web",
		[]string{".", "access", "edge/control", "edge/wall", "helm"},
		"pages call helm only; access says who logs in, and of the edge they know the shapes of its traffic numbers and the wall's tokens",
	},
	{
		"cli",
		[]string{".", "api/client", "api/wire", "manifest", "secret"},
		"commands speak to the server over its API; what is read here is the folder of bosman init and the lines of bosman secrets import",
	},
	{"serve", []string{"*"}, "serve is the wiring"},
	{"demo", []string{"*"}, "the demo plays a story with all of Bosman"},
	{"browser", []string{"*"}, "a browser is shown all of Bosman"},
	{"cmd/bosman", []string{"*"}, "main chooses the role of the process"},
}

// nobody may be imported by any but those named, also not by tests elsewhere.
var nobody = map[string][]string{
	"serve":      {"browser", "cmd", "demo", "serve"},
	"demo":       {"cmd", "demo"},
	"cmd/bosman": {"cmd"},
	"cli":        {"cmd", "cli"},
}

// upper are the folders that no stage may know, not even in tests.
var upper = []string{"helm", "store", "web", "api", "cli", "serve", "demo", "cmd"}

// forTests are the folders that only tests, and each other, may import.
var forTests = []string{
	"api/apitest", "database/databasetest", "forge/forgetest", "instance/runtime/runtimetest",
	"internal/need", "internal/archtest", "internal/testsum", "web/internal",
}

// owner says which folders may import an outside module outside of their
// tests; no folder: only tests. strict is for tests as well.
type owner struct {
	folders []string
	strict  bool
	why     string
}

const (
	anyone = "small and without state of its own"
	tests  = "a tool of tests, not part of the program"
)

var modules = map[string]owner{
	"github.com/dbos-inc/dbos-transact-golang": {[]string{"steps"}, true, "steps is the only package that knows the durable engine: another one can take its place"},

	"modernc.org/sqlite":             {[]string{"store", "steps", "database/sqlite"}, false, "drivers belong to who keeps state: Bosman's own, the journal, and the engine for apps' SQLite files"},
	"github.com/go-sql-driver/mysql": {[]string{"database/mariadb"}, false, "the MariaDB driver belongs to the engine for apps' databases"},
	"github.com/jackc/pgx/v5":        {[]string{"database/postgres"}, false, "the PostgreSQL driver belongs to the engine for apps' databases"},
	"github.com/uptrace/bun":         {[]string{"store"}, true, "SQL about Bosman's own state is written in store only"},
	"github.com/pressly/goose":       {[]string{"store"}, true, "migrations of Bosman's own state are store's"},

	"github.com/danielgtaylor/huma/v2": {[]string{"api"}, true, "only the API's handlers know how it is described"},
	"github.com/a-h/templ":             {[]string{"web"}, true, "only pages are made of templates"},
	"github.com/alexedwards/scs":       {[]string{"web"}, true, "sessions are for browsers; whoever else asks has a token"},
	"github.com/alecthomas/kong":       {[]string{"cli", "cmd/bosman"}, true, "only the command line knows its parser"},

	"filippo.io/age":                        {[]string{"secret", "vault"}, true, "values at rest are sealed in one place, objects in targets in another"},
	"github.com/minio/minio-go/v7":          {[]string{"vault"}, true, "targets are reached in one place"},
	"github.com/johannesboyne/gofakes3":     {nil, false, tests},
	"github.com/google/go-github":           {[]string{"forge/github"}, true, "what GitHub says becomes neutral in one place"},
	"github.com/emersion":                   {[]string{"mailsink"}, false, "mail is taken in one place and sent on in none"},
	"github.com/nicholas-fedor/shoutrrr":    {[]string{"notify"}, true, "chats are notify's"},
	"github.com/goccy/go-yaml":              {[]string{"manifest"}, false, "bosman.yaml is read in one place, so that every mistake is shown at its line"},
	"github.com/santhosh-tekuri/jsonschema": {[]string{"manifest"}, false, "the schema of bosman.yaml is manifest's"},
	"github.com/adhocore/gronx":             {[]string{"manifest", "instance/cron"}, false, "cron times are checked in one place and awaited in one"},
	"github.com/reviewdog/errorformat":      {[]string{"build/report"}, true, "formats of linters are build/report's"},
	"github.com/andybalholm/brotli":         {[]string{"edge", "problem"}, false, anyone},
	"github.com/klauspost/compress":         {[]string{"edge", "problem", "database", "build", "release", "vault"}, false, anyone},

	"github.com/chromedp":             {nil, false, tests},
	"github.com/getsentry/sentry-go":  {nil, false, tests},
	"github.com/rogpeppe/go-internal": {nil, false, tests},
	"go.uber.org/goleak":              {nil, false, tests},
	"pgregory.net/rapid":              {nil, false, tests},
	"golang.org/x/crypto":             {[]string{"access", "source", "forge", "notify", "web"}, false, "passwords and signatures"},
	"golang.org/x/net":                {[]string{"build/report", "mailsink", "edge", "web"}, false, "hostile text: character sets and HTML"},
	"golang.org/x/sync":               {[]string{"*"}, false, anyone},
	"golang.org/x/sys":                {[]string{"*"}, false, anyone},
	"golang.org/x/term":               {[]string{"cli", "demo", "serve"}, false, "only the command line, the demo and the first start, which shows the recovery key, have a terminal"},
	"golang.org/x/text":               {[]string{"web", "mailsink", "build/report"}, false, "texts and character sets"},
}

// standard names parts of the standard library that a folder must do without.
var standard = []struct {
	folder  string
	without []string
	why     string
}{
	{".", []string{"os", "os/exec", "net", "net/http", "database/sql", "io/fs", "log", "log/slog", "syscall"}, "the nouns do no input or output"},
	{"helm", []string{"net/http", "html/template", "os/exec"}, "helm must not know HTTP, pages or how a stage does its work"},
	{"store", []string{"net/http", "os/exec"}, "store keeps rows"},
	{"deploy", []string{"net/http", "database/sql", "os/exec"}, "plans speak in the terms of their own interfaces"},
	{"watch", []string{"net/http", "database/sql", "os", "os/exec"}, "verdicts are a pure function of samples"},
	{"steps", []string{"net/http", "os/exec"}, "the durable engine must not know what a plan does"},
}
