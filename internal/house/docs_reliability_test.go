package house

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// promises are documents that name the tests that show what they say, and how many
// they name at least: a document that the pattern below does not read would pass.
var promises = []struct {
	doc   string
	least int
}{
	{"docs/reliability.md", 100},
	{"docs/security.md", 120},
}

const emptyPromise = "a document that names a test which is not there promises what nobody looks at"

func TestNamedTestsAreThere(t *testing.T) {
	tests := testsThatAre(t)
	for _, p := range promises {
		text, err := os.ReadFile(filepath.Join(root(t), p.doc))
		if err != nil {
			t.Fatal(err)
		}
		found, named := promised(p.doc, string(text), tests)
		report(t, emptyPromise, found)
		if named < p.least {
			t.Errorf("%s names %d tests, want %d at least", p.doc, named, p.least)
		}
	}
}

func TestPlantedPromises(t *testing.T) {
	tests := knownTests{
		names:  map[string]bool{"a/b.TestOne": true, "wflo.FuzzTwo": true},
		bodies: map[string]string{"a": `{"Part", part}, t.Run("two words", f)`},
	}
	for text, want := range map[string]int{
		"`a/b.TestOne`, `wflo.FuzzTwo`, `a/b.TestOne/Part`, `a/b.TestOne/two words`, `TestOne`": 0,
		"`a/b.TestTwo`": 1, "`a/c.TestOne`": 1, "`TestTwo`": 1, "`a/b.TestOne/Other`": 1, "`FuzzOne` or `a.TestOne`": 2,
	} {
		if found, _ := promised("doc", text, tests); len(found) != want {
			t.Errorf("%s: found %v, want %d", text, found, want)
		}
	}
}

// TestEveryFaultIsInTheTable wants each number once, with tests or the word that says
// that there are none.
func TestEveryFaultIsInTheTable(t *testing.T) {
	const faults = 64
	text, err := os.ReadFile(filepath.Join(root(t), "docs/reliability.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| (\d+) \|(.*)\|(.*)\|(.*)\|(.*)\|$`)
	next := 1
	for _, r := range row.FindAllStringSubmatch(string(text), -1) {
		if r[1] != strconv.Itoa(next) {
			t.Errorf("row %s comes where %d should", r[1], next)
		}
		next++
		how, _, _ := strings.Cut(strings.TrimLeft(r[5], " "), " ")
		shown := strings.Contains(r[4], "Test")
		switch strings.TrimRight(how, ":;,") {
		case "yes", "near":
			if !shown {
				t.Errorf("row %s is %s without a test", r[1], how)
			}
		case "no":
			if shown {
				t.Errorf("row %s is no, with a test", r[1])
			}
		default:
			t.Errorf("row %s is %q: yes, near or no", r[1], r[5])
		}
	}
	if next != faults+1 {
		t.Errorf("the table has %d rows, want %d", next-1, faults)
	}
}

// knownTests are the tests of all modules by the name that documents give them, and
// the text of the files that hold tests by the first part of their path, in which
// subtests are looked for: suites have their names in packages of their own.
type knownTests struct {
	names  map[string]bool
	bodies map[string]string
}

func testsThatAre(t *testing.T) knownTests {
	t.Helper()
	tests := knownTests{map[string]bool{}, map[string]string{}}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(\w+ \*testing\.`)
	for _, s := range goSources(t) {
		if !s.forTests() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root(t), filepath.FromSlash(s.path)))
		if err != nil {
			t.Fatal(err)
		}
		folder := s.dir()
		if folder == "." {
			folder = "wflo"
		}
		first, _, _ := strings.Cut(folder, "/")
		tests.bodies[first] += string(text)
		for _, name := range declared.FindAllStringSubmatch(string(text), -1) {
			tests.names[folder+"."+name[1]] = true
		}
	}
	return tests
}

var promise = regexp.MustCompile("`(?:([\\w/.-]+)\\.)?((?:Test|Fuzz)[A-Z]\\w*)((?:/[^`/]+)*)`")

// promised gives the tests that a document names and that are not there, and how many
// it names.
func promised(doc, text string, tests knownTests) (found []finding, named int) {
	anywhere := map[string]bool{}
	for name := range tests.names {
		anywhere[name[strings.LastIndexByte(name, '.')+1:]] = true
	}
	for i, line := range strings.Split(text, "\n") {
		at := doc + ":" + strconv.Itoa(i+1)
		for _, p := range promise.FindAllStringSubmatch(line, -1) {
			named++
			if p[1] == "" && !anywhere[p[2]] || p[1] != "" && !tests.names[p[1]+"."+p[2]] {
				found = append(found, finding{at, strings.Trim(p[0], "`") + " is not there"})
				continue
			}
			for _, sub := range strings.Split(p[3], "/")[1:] {
				if !tests.has(sub) {
					found = append(found, finding{at, strings.Trim(p[0], "`") + " has no part of that name"})
				}
			}
		}
	}
	return found, named
}

func (k knownTests) has(subtest string) bool {
	for _, text := range k.bodies {
		if strings.Contains(text, strconv.Quote(subtest)) {
			return true
		}
	}
	return false
}
