package toolchain

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// quiet is how often a long build says that it goes on, when nobody watches a terminal.
const quiet = 15 * time.Second

// meter turns the output of go build -v, one line for each package as it is compiled, into progress. On a terminal
// it rewrites one line; elsewhere it writes a line now and then. It keeps the last lines for an error message.
type meter struct {
	out      io.Writer
	terminal bool
	name     string
	total    int
	started  time.Time
	ticker   *time.Ticker
	stop     chan struct{}

	mu       sync.Mutex
	compiled int
	partial  []byte
	last     []string
}

func newMeter(out io.Writer, name string, total int) *meter {
	m := &meter{out: out, name: name, total: total, started: time.Now(), stop: make(chan struct{})}
	m.terminal = isTerminal(out)
	every := quiet
	if m.terminal {
		every = time.Second
	}
	m.ticker = time.NewTicker(every)
	go m.run()
	return m
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != ""
}

func (m *meter) run() {
	for {
		select {
		case <-m.ticker.C:
			m.show()
		case <-m.stop:
			return
		}
	}
}

// Write takes the build's output.
func (m *meter) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.partial = append(m.partial, p...)
	for {
		line, rest, found := bytes.Cut(m.partial, []byte("\n"))
		if !found {
			return len(p), nil
		}
		m.partial = rest
		m.line(string(line))
	}
}

func (m *meter) line(line string) {
	if isPackage(line) {
		m.compiled++
		return
	}
	m.last = append(m.last, line)
	if len(m.last) > 20 {
		m.last = m.last[1:]
	}
}

// isPackage tells an import path, all that -v prints for a package, from messages: those have spaces or a leading '#'.
func isPackage(line string) bool {
	return line != "" && !strings.ContainsAny(line, " \t") && !strings.HasPrefix(line, "#")
}

func (m *meter) show() {
	m.mu.Lock()
	defer m.mu.Unlock()
	text := fmt.Sprintf("  build %s: %d of at most %d packages compiled, %s", m.name, m.compiled, m.total,
		time.Since(m.started).Round(time.Second))
	if m.terminal {
		_, _ = fmt.Fprintf(m.out, "\r\x1b[K%s", text)
		return
	}
	_, _ = fmt.Fprintln(m.out, text)
}

// done ends the progress and writes the last line.
func (m *meter) done(err error) {
	m.ticker.Stop()
	close(m.stop)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.terminal {
		_, _ = fmt.Fprint(m.out, "\r\x1b[K")
	}
	verdict := "built"
	if err != nil {
		verdict = "failed"
	}
	_, _ = fmt.Fprintf(m.out, "  build %s: %s, %d packages compiled, %s\n", m.name, verdict, m.compiled,
		time.Since(m.started).Round(100*time.Millisecond))
}

// tail is the end of what the compiler had to say.
func (m *meter) tail() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.last, "\n")
}
