package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// foreign is what PostgreSQL understands and CockroachDB or YugabyteDB does not,
// or takes for something else. docs/decisions/089 says why for each.
var foreign = map[string]*regexp.Regexp{
	"advisory locks":              pattern(`pg_(try_)?advisory`),
	"LISTEN and NOTIFY":           pattern(`(^|;)\s*(UN)?LISTEN\s+\w+\s*(;|$)|(^|;)\s*NOTIFY\s+\w+\s*[,;]|(^|;)\s*NOTIFY\s+\w+$|pg_notify`),
	"triggers, functions, rules":  pattern(`CREATE\s+(OR\s+REPLACE\s+)?(CONSTRAINT\s+)?(TRIGGER|FUNCTION|PROCEDURE|RULE|AGGREGATE|CAST|DOMAIN|OPERATOR|EXTENSION)\b|(^|;)\s*DO\s+\$`),
	"table inheritance":           pattern(`\bINHERITS\s*\(|\bFROM\s+ONLY\s`),
	"exclusion constraints":       pattern(`\bEXCLUDE\s+(USING|\()`),
	"constraints that wait":       pattern(`\bDEFERRABLE\b|\bINITIALLY\s+DEFERRED\b|SET\s+CONSTRAINTS`),
	"numbers in order of a table": pattern(`(?-i:\b(BIG|SMALL)?SERIAL\b|AUTOINCREMENT)|GENERATED\s+(ALWAYS|BY\s+DEFAULT)\s+AS\s+IDENTITY|CREATE\s+SEQUENCE|\bnextval\s*\(`),
	"locks of tables":             pattern(`LOCK\s+TABLE|(^|;)\s*LOCK\s+\w+\s+IN\b`),
	"two-phase commit":            pattern(`PREPARE\s+TRANSACTION|COMMIT\s+PREPARED`),
	"places of rows":              pattern(`\b(ctid|xmin|xmax|tableoid)\b\s*(=|,|<|>|FROM|::)`),
	"tables of another kind":      pattern(`CREATE\s+(UNLOGGED|TEMP|TEMPORARY|FOREIGN)\s|TABLESPACE|PARTITION\s+BY|ON\s+COMMIT\s+(DROP|DELETE|PRESERVE)`),
	"MERGE":                       pattern(`(^|;)\s*MERGE\s+INTO\b`),
	"cursors":                     pattern(`(^|;)\s*DECLARE\s+\w+.*\bCURSOR\b|WHERE\s+CURRENT\s+OF`),
	"COPY":                        pattern(`(^|;)\s*COPY\s+\w+.*\b(FROM|TO)\s+(STDIN|STDOUT|PROGRAM)`),
	"work of PostgreSQL's own":    pattern(`(^|;)\s*(VACUUM|CLUSTER|REINDEX)\b`),
	"all columns, unnamed":        pattern(`^\s*SELECT\s+(\w+\.)?\*`), // decision 088
}

func pattern(s string) *regexp.Regexp { return regexp.MustCompile(`(?is)` + s) }

// alone names files whose SQL no second database ever hears.
var alone = map[string]string{
	"internal/store/sqlite.go":              "SQLite's",
	"internal/bench/rows.go":                "reads back, for a measurement, rows of tables that it does not know",
	"internal/store/cluster/cluster.go":     "a PostgreSQL server for tests",
	"internal/store/cluster/fail.go":        "likewise",
	"internal/store/storetest/storetest.go": "likewise",
}

// TestSQLIsOfTheSubset holds every text of the program that could be SQL, and
// every migration, to what three databases understand.
func TestSQLIsOfTheSubset(t *testing.T) {
	root, read := filepath.Join("..", ".."), 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		name = filepath.ToSlash(name)
		switch {
		case d.IsDir() && (name == "build" || strings.HasPrefix(d.Name(), ".") && name != "."):
			return fs.SkipDir
		case strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && alone[name] == "":
			for at, text := range literals(t, path) {
				read++
				judge(t, name+":"+strconv.Itoa(at), text)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if read < 5000 {
		t.Errorf("only %d texts were found: are they written in another way?", read)
	}
}

func judge(t *testing.T, where, text string) {
	t.Helper()
	for what, p := range foreign {
		if p.MatchString(text) {
			t.Errorf("%s: %s: %.80q", where, what, text)
		}
	}
}

// literals are the strings of a file, with constant ones that are added up
// written together, by the line on which they begin.
func literals(t *testing.T, path string) map[int]string {
	t.Helper()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	out := map[int]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		e, ok := n.(ast.Expr)
		if !ok {
			return true
		}
		text, ok := added(e)
		if ok {
			out[set.Position(e.Pos()).Line] += text + "\n"
		}
		return !ok
	})
	return out
}

// added is the text of an expression that adds up strings; what is no constant
// becomes a space.
func added(e ast.Expr) (string, bool) {
	switch x := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(x.Value)
		return s, err == nil && x.Kind == token.STRING
	case *ast.BinaryExpr:
		if x.Op != token.ADD {
			return "", false
		}
		left, ok1 := added(x.X)
		right, ok2 := added(x.Y)
		if !ok1 {
			left = " "
		}
		if !ok2 {
			right = " "
		}
		return left + right, ok1 || ok2
	}
	return "", false
}

// Migrations consist of few kinds of statement, with few types.
var (
	kinds       = pattern(`^(CREATE TABLE \w+ \(|CREATE (UNIQUE )?INDEX \w+ ON \w+ \(|ALTER TABLE \w+ (ADD|DROP) COLUMN \w+|INSERT INTO \w+ |UPDATE \w+ SET |DELETE FROM \w+|DROP (TABLE|INDEX) \w+)`)
	columnTypes = regexp.MustCompile(`^(TEXT|INTEGER|BIGINT|BYTEA)$`)
	// contracts is what takes something from programs that are older.
	contracts = pattern(`^(DROP|DELETE|ALTER TABLE \w+ DROP|CREATE UNIQUE INDEX)`)
	raises    = pattern(`UPDATE schema_floor SET version = (\d+)`)
)

// firstSideBySide is the first migration that runs under programs which do not
// know it.
const firstSideBySide = 101

// TestMigrations holds them to the subset, and to the order of decision 088:
// who takes something away, or asks older programs for what they do not give,
// raises the floor, to a version that is older than itself.
func TestMigrations(t *testing.T) {
	dir := filepath.Join("..", "store", "migrations")
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 20 {
		t.Fatalf("%d migrations, %v", len(files), err)
	}
	for _, f := range files {
		version, err := strconv.Atoi(f.Name()[:4])
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range unfit(version, read(t, filepath.Join(dir, f.Name()))) {
			t.Errorf("%s: %s", f.Name(), bad)
		}
	}
	for text, ok := range map[string]bool{
		"CREATE TABLE a (b TEXT NOT NULL);":                                                        true,
		"ALTER TABLE a ADD COLUMN b TEXT NOT NULL DEFAULT '';":                                     true,
		"ALTER TABLE a ADD COLUMN b BYTEA;":                                                        true,
		"CREATE TABLE a (b TEXT NOT NULL);\nCREATE UNIQUE INDEX c ON a (b);":                       true,
		"ALTER TABLE a DROP COLUMN b;\nUPDATE schema_floor SET version = 201 WHERE id = 1;":        true,
		"ALTER TABLE a DROP COLUMN b;\nUPDATE schema_floor SET version = 202 WHERE id = 1;":        false, // shuts the release before out
		"ALTER TABLE a DROP COLUMN b;":                                                             false,
		"ALTER TABLE a ADD COLUMN b TEXT NOT NULL;":                                                false, // older programs do not fill it
		"CREATE UNIQUE INDEX c ON a (b);":                                                          false,
		"ALTER TABLE a RENAME COLUMN b TO c;":                                                      false,
		"ALTER TABLE a ALTER COLUMN b TYPE BIGINT;":                                                false,
		"CREATE TABLE a (b SERIAL PRIMARY KEY);":                                                   false,
		"CREATE TABLE a (b JSONB);":                                                                false,
		"ALTER TABLE a ADD COLUMN b BIGINT NOT NULL DEFAULT 0;\nUPDATE a SET b = 1;":               false, // in one transaction
		"CREATE TABLE a (b TEXT REFERENCES c (d) DEFERRABLE);":                                     false,
		"SELECT pg_advisory_lock(1);":                                                              false,
		"CREATE TABLE a (b TEXT); -- SERIAL in a remark\n":                                         true,
		"CREATE TABLE a (b TEXT NOT NULL,\n c BIGINT NOT NULL DEFAULT 0,\n PRIMARY KEY (b, c)\n);": true,
	} {
		if bad := unfit(202, "-- +goose Up\n"+text); (len(bad) == 0) != ok {
			t.Errorf("%s: %q", text, bad)
		}
	}
}

// unfit says what is wrong with a migration.
func unfit(version int, text string) (bad []string) {
	text = regexp.MustCompile(`--[^\n]*`).ReplaceAllString(text, "")
	own, added, takes := map[string]bool{}, map[string]bool{}, ""
	for statement := range strings.SplitSeq(text, ";") {
		s := strings.Join(strings.Fields(statement), " ")
		if s == "" {
			continue
		}
		if !kinds.MatchString(s) {
			bad = append(bad, "no such statement is in the subset: "+s)
			continue
		}
		for what, p := range foreign {
			if p.MatchString(s) {
				bad = append(bad, what+": "+s)
			}
		}
		for _, typ := range typesOf(s) {
			if !columnTypes.MatchString(typ) {
				bad = append(bad, "no such type is in the subset: "+typ)
			}
		}
		words := strings.Fields(s)
		switch {
		case strings.HasPrefix(s, "CREATE TABLE"):
			own[words[2]] = true
		case strings.HasPrefix(s, "ALTER TABLE") && words[3] == "ADD":
			added[words[2]] = true
			if strings.Contains(s, "NOT NULL") && !strings.Contains(s, "DEFAULT") {
				takes = s
			}
		case strings.HasPrefix(s, "UPDATE") && added[words[1]]:
			bad = append(bad, "CockroachDB does not write a column in the transaction that adds it: "+s)
		}
		if contracts.MatchString(s) && !own[tableOf(words)] {
			takes = s
		}
	}
	if version < firstSideBySide || takes == "" {
		return bad
	}
	m := raises.FindStringSubmatch(text)
	if m == nil {
		return append(bad, "older programs cannot go on after it, and the floor stays: "+takes)
	}
	if floor, _ := strconv.Atoi(m[1]); floor >= version || floor < firstSideBySide-1 {
		bad = append(bad, "the floor has to be the version of the release before: "+m[1])
	}
	return bad
}

// tableOf is the table that an index is made on, or a row deleted from.
func tableOf(words []string) string {
	for i, w := range words[:len(words)-1] {
		if w == "ON" || w == "FROM" {
			return words[i+1]
		}
	}
	return ""
}

// typesOf are the types of columns that a statement makes.
func typesOf(s string) (all []string) {
	if m := regexp.MustCompile(`^ALTER TABLE \w+ ADD COLUMN \w+ (\w+)`).FindStringSubmatch(s); m != nil {
		return m[1:]
	}
	_, columns, ok := strings.Cut(s, "(")
	if !strings.HasPrefix(s, "CREATE TABLE") || !ok {
		return nil
	}
	depth, from := 0, 0
	for i, r := range columns + "," {
		switch {
		case r == '(':
			depth++
		case r == ')':
			depth--
		case r == ',' && depth <= 0:
			words := strings.Fields(columns[from:i])
			from = i + 1
			if len(words) < 2 || regexp.MustCompile(`^(PRIMARY|UNIQUE|FOREIGN|CHECK|CONSTRAINT)$`).MatchString(words[0]) {
				continue
			}
			all = append(all, strings.Trim(words[1], "()"))
		}
	}
	return all
}
