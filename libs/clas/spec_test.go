package clas_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// TestSpec runs the pages of testdata/spec, of which each specifies one construct of the policy model in cases that were
// written by hand. testdata/spec/README.md says how to read and write them.
func TestSpec(t *testing.T) {
	pages, err := filepath.Glob("testdata/spec/*.md")
	if err != nil {
		t.Fatal(err)
	}
	cases, expectations := 0, 0
	for _, path := range pages {
		if filepath.Base(path) == "README.md" {
			continue
		}
		page, err := readSpecPage(path)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".md"), func(t *testing.T) {
			for _, c := range page.cases {
				t.Run(c.name, func(t *testing.T) { expectations += runSpecCase(t, page, c) })
			}
		})
		cases += len(page.cases)
	}
	t.Logf("%d cases, %d expectations", cases, expectations)
	if cases == 0 {
		t.Error("no case was found")
	}
}

// specPage is one file: a construct, the fact that it rests on, the world in which its cases begin, and the cases.
type specPage struct {
	path, title, source string
	world               []specLine
	cases               []*specCase
}

// specCase begins in the page's world. Its source is the page's unless it has its own.
type specCase struct {
	name, source string
	steps        []specLine
}

// specLine is one directive: a verb, the text after it, and the lines that are indented below it.
type specLine struct {
	path   string
	number int
	verb   string
	text   string
	nested []specLine
}

func (l specLine) String() string { return strings.TrimSpace(l.verb + " " + l.text) }

// indent leads directives, as it does code in Markdown; two more lead what belongs to the directive above.
const specIndent = "    "

func readSpecPage(path string) (*specPage, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseSpecPage(path, string(data))
}

// parseSpecPage takes a page apart. What is neither heading, source nor directive must be prose: a paragraph that begins
// like a sentence, so that no directive is lost for want of its indent.
func parseSpecPage(path, text string) (*specPage, error) {
	page := &specPage{path: path}
	afterBlank := true
	for i, line := range strings.Split(text, "\n") {
		if err := page.take(specLine{path: path, number: i + 1}, strings.TrimRight(line, " "), afterBlank); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
		afterBlank = strings.TrimSpace(line) == ""
	}
	return page, page.check()
}

func (p *specPage) take(at specLine, line string, afterBlank bool) error {
	source, isSource := strings.CutPrefix(line, "Source: ")
	name, isCase := strings.CutPrefix(line, "## ")
	title, isTitle := strings.CutPrefix(line, "# ")
	directive, isDirective := strings.CutPrefix(line, specIndent)
	first, _ := utf8.DecodeRuneInString(line)
	switch {
	case line == "":
		return nil
	case isSource:
		return p.rest(source)
	case isCase:
		p.cases = append(p.cases, &specCase{name: name})
		return nil
	case isTitle && p.title == "":
		p.title = title
		return nil
	case isDirective:
		return p.direct(at, directive)
	case strings.HasPrefix(line, "#") || unicode.IsSpace(first):
		return fmt.Errorf("%q is neither heading, directive nor prose", line)
	case afterBlank && !unicode.IsUpper(first):
		return fmt.Errorf("a paragraph begins with %q: prose begins like a sentence, and directives are indented by four", line)
	}
	return nil
}

// knownSource is where a fact may come from: the collected facts by page and section, the design, or a decision of ours.
var knownSource = regexp.MustCompile(`^(pce-and-clas|kubernetes|hooks|datapath|architecture|policy-model) [0-9]|^Ringfence decides`)

func (p *specPage) rest(source string) error {
	for s := range strings.SplitSeq(source, "; ") {
		if !knownSource.MatchString(s) {
			return fmt.Errorf("source %q names neither a section of the facts, of the design or of the model, nor a decision", s)
		}
	}
	if n := len(p.cases); n > 0 {
		p.cases[n-1].source = source
		return nil
	}
	p.source = source
	return nil
}

func (p *specPage) direct(at specLine, text string) error {
	list := &p.world
	if n := len(p.cases); n > 0 {
		list = &p.cases[n-1].steps
	}
	trimmed := strings.TrimSpace(text)
	if text != trimmed && len(*list) == 0 {
		return fmt.Errorf("%q belongs to no directive", trimmed)
	}
	at.verb, at.text, _ = strings.Cut(withoutRemark(trimmed), " ")
	at.text = strings.TrimSpace(at.text)
	switch {
	case text != trimmed:
		above := &(*list)[len(*list)-1]
		above.nested = append(above.nested, at)
	case at.verb != "":
		*list = append(*list, at)
	}
	return nil
}

// withoutRemark cuts what follows a # that stands by itself.
func withoutRemark(text string) string {
	text, _, _ = strings.Cut(text+" ", "# ")
	return strings.TrimSpace(text)
}

func (p *specPage) check() error {
	switch {
	case p.title == "":
		return fmt.Errorf("%s:1: no title", p.path)
	case len(p.cases) == 0:
		return fmt.Errorf("%s:1: no case", p.path)
	}
	for _, c := range p.cases {
		if p.source == "" && c.source == "" {
			return fmt.Errorf("%s: case %q has no source, and neither has the page", p.path, c.name)
		}
		if len(c.steps) == 0 {
			return fmt.Errorf("%s: case %q has no steps", p.path, c.name)
		}
	}
	return nil
}

// TestSpecPagesAreChecked makes sure that a page cannot pass for want of being understood.
func TestSpecPagesAreChecked(t *testing.T) {
	const good = "# T\n\nSource: policy-model 1\n\n## C\n\nProse, and\nmore of it.\n\n    version 0\n"
	if _, err := parseSpecPage("p", good); err != nil {
		t.Errorf("a good page: %v", err)
	}
	for change, want := range map[string]string{
		"# T|":                              "p:1: no title",
		"Source: policy-model 1|":           `case "C" has no source`,
		"policy-model 1|hearsay":            "p:3: source",
		"## C|":                             "p:1: no case",
		"    version|version":               "p:10: a paragraph begins with",
		"    version|  version":             "p:10: \"  version 0\" is neither",
		"    version 0|":                    "has no steps",
		"    version|      version":         "p:10: \"version 0\" belongs to no directive",
		"## C|### C":                        `p:5: "### C" is neither`,
		"Prose, and|prose, and":             "p:7: a paragraph begins with",
		"Source: policy-model 1|Source: 47": "p:3: source",
	} {
		old, replaced, _ := strings.Cut(change, "|")
		_, err := parseSpecPage("p", strings.Replace(good, old, replaced, 1))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with %q: %v, want %s", change, err, want)
		}
	}
}
