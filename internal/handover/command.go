package handover

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"postern/internal/fault"
)

// Command describes a program of this machine. It is started as it is, never through a
// shell, as the user that Postern runs as, and reads the notice from its standard input.
type Command struct {
	Path           string            `json:"path" yaml:"path"`                                           // absolute
	Args           []string          `json:"args,omitempty" yaml:"args,omitempty"`                       // templates
	Env            map[string]string `json:"env,omitempty" yaml:"env,omitempty"`                         // all it gets beside PATH and the like
	Dir            string            `json:"dir,omitempty" yaml:"dir,omitempty"`                         // it works there; the system's directory for temporary files by default
	TimeoutSeconds int               `json:"timeout_seconds,omitempty" yaml:"timeout_seconds,omitempty"` // then it is ended, with all that it started; 300 by default
}

// command is a program as a target.
type command struct {
	spec Command
	args []Template
	safe SafeName
}

const runCommand = "run command"

func newCommand(spec Command, with With) (Target, error) {
	c := &command{spec: spec, safe: with.Name}
	if !filepath.IsAbs(spec.Path) {
		return nil, fault.New(fault.Invalid, runCommand, "%q is no absolute path", spec.Path).WithHint("give the program's whole path; arguments go into args")
	}
	if spec.Dir == "" {
		c.spec.Dir = os.TempDir()
	} else if !filepath.IsAbs(spec.Dir) {
		return nil, fault.New(fault.Invalid, runCommand, "dir %q is no absolute path", spec.Dir)
	}
	if ext := strings.ToLower(filepath.Ext(spec.Path)); runtime.GOOS == "windows" && (ext == ".bat" || ext == ".cmd") {
		return nil, fault.New(fault.Invalid, runCommand, "%q is run by a shell that reads arguments as commands", spec.Path).
			WithHint("give a program: powershell.exe with the arguments -NoProfile, -File and the script")
	}
	for i, text := range spec.Args {
		t, err := Parse(text)
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
		if i > 0 && t.variable() && shellText(spec.Path, spec.Args[i-1]) {
			return nil, fault.New(fault.Invalid, runCommand, "argument %d would be read by a shell, with what senders write in it", i+1).
				WithHint(`give the script a name and variables as its arguments: ["-c", "cp -- \"$1\" /srv", "sh", "{saved_path}"], or a program`)
		}
		c.args = append(c.args, t)
	}
	for name, value := range spec.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
			return nil, fault.New(fault.Invalid, runCommand, "%q is no name in an environment", name)
		}
	}
	return c, nil
}

// shellText reports whether the argument after flag is a program text of a shell.
func shellText(program, flag string) bool {
	name := strings.TrimSuffix(strings.ToLower(filepath.Base(program)), ".exe")
	flag = strings.ToLower(flag)
	switch name {
	case "sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "busybox":
		return strings.HasPrefix(flag, "-") && !strings.HasPrefix(flag, "--") && strings.HasSuffix(flag, "c")
	case "cmd":
		return flag == "/c" || flag == "/k"
	case "powershell", "pwsh":
		return len(flag) > 1 && strings.HasPrefix("-command", flag)
	}
	return false
}

// Deliver runs the program once and waits for it.
func (c *command) Deliver(ctx context.Context, d Delivery) (string, error) {
	v := d.Vars
	for i, f := range d.Files {
		file, err := f.at(i).open(ctx)
		if err != nil {
			return "", err
		}
		_ = file.Close()
		if i == 0 {
			v = v.With(f.at(i), c.safe)
		}
	}
	n := d.notice(c.safe)
	for i, f := range d.Files {
		n.Files[i].Path = f.Path
	}
	input, err := json.Marshal(n)
	if err != nil {
		return "", fault.Wrap(fault.Permanent, runCommand, err)
	}
	return c.run(ctx, d.ID, c.arguments(v), input)
}

// maxArgument bounds what one argument takes from a message: systems refuse long ones.
const maxArgument = 8 << 10

// arguments fills in the templates. What a sender wrote cannot pass for an option:
// before a literal "--", a dash that a variable brings to the front becomes "_".
func (c *command) arguments(v Vars) []string {
	args := make([]string, 0, len(c.args))
	options := true
	for i, t := range c.args {
		text := strings.ReplaceAll(t.Text(v), "\x00", "")
		if t.variable() && len(text) > maxArgument {
			cut := maxArgument
			for !utf8.RuneStart(text[cut]) {
				cut--
			}
			text = text[:cut]
		}
		if options && strings.HasPrefix(text, "-") && t.pieces[0].name != "" {
			text = "_" + text[1:]
		}
		options = options && c.spec.Args[i] != "--"
		args = append(args, text)
	}
	return args
}

// run starts the program and judges how it ended.
func (c *command) run(ctx context.Context, id string, args []string, input []byte) (string, error) {
	limit := seconds(c.spec.TimeoutSeconds, 5*time.Minute)
	timed, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(timed, c.spec.Path, args...) //nolint:gosec // the path is the operator's; no shell reads the arguments
	cmd.Dir, cmd.Env = c.spec.Dir, c.environment(id)
	cmd.Stdin = bytes.NewReader(input)
	said := &tail{}
	cmd.Stdout, cmd.Stderr = said, said // one writer: in the order it was said
	cmd.WaitDelay = 2 * time.Second     // for whoever holds on to its output afterwards
	err := runGroup(cmd)
	words := bounded(said.String())
	if err == nil || errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState != nil && cmd.ProcessState.Success() {
		return bounded("exit 0 " + words), nil
	}
	if timed.Err() != nil {
		e := fault.New(fault.Temporary, runCommand, "%s did not end and was killed: %w", filepath.Base(c.spec.Path), context.Cause(timed))
		e.Ambiguous = true
		if ctx.Err() == nil {
			e = e.WithHint("it has %s: raise timeout_seconds, or find out what it waits for", limit)
		}
		return "", said.into(e, "killed", words)
	}
	return "", c.judge(err, said, words)
}

// environment is small and explicit: nothing of ours reaches the program.
func (c *command) environment(id string) []string {
	env := systemEnvironment()
	env = append(env, "POSTERN_DELIVERY="+strings.ReplaceAll(id, "\x00", ""))
	names := make([]string, 0, len(c.spec.Env))
	for name := range c.spec.Env {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		env = append(env, name+"="+c.spec.Env[name])
	}
	return env
}

// judge classifies by the exit code, in the manner of sysexits.h.
func (c *command) judge(err error, said *tail, words string) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return startError(c.spec.Path, err)
	}
	code := exit.ExitCode()
	e := &fault.Error{Kind: fault.Temporary, Op: runCommand, Err: fmt.Errorf("%s: %w", filepath.Base(c.spec.Path), err)}
	switch code {
	case exUsage, exNoPerm, exConfig, cannotRun, notFound:
		e.Kind = fault.NeedsAdmin
		e = e.WithHint("it says that it is set up wrongly (exit code %d): run it by hand", code)
	case exDataErr:
		e.Kind = fault.Permanent
		e = e.WithHint("it refuses this message (exit code %d)", code)
	}
	return said.into(e, fmt.Sprint(code), words)
}

// The exit codes that mean something (sysexits.h, and the shell's two). All others are
// worth another try.
const (
	exUsage   = 64
	exDataErr = 65
	exNoPerm  = 77
	exConfig  = 78
	cannotRun = 126
	notFound  = 127
)

// startError says why a program could not even be started.
func startError(path string, err error) error {
	e := fault.New(fault.NeedsAdmin, runCommand, "%s: %w", path, err)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		e.Kind = fault.Temporary
	case errors.Is(err, os.ErrNotExist):
		return e.WithHint("install the program, or correct path and dir")
	case errors.Is(err, os.ErrPermission):
		return e.WithHint("let the user that Postern runs as execute it, and enter dir")
	case !errors.Is(err, exec.ErrNotFound):
		e.Kind = fault.Temporary // no memory, too many processes
	}
	return e
}

// Check looks whether the program is there and may be run; it does not run it.
func (c *command) Check(context.Context) error {
	info, err := os.Stat(c.spec.Dir)
	if err == nil && !info.IsDir() {
		err = &os.PathError{Op: "enter", Path: c.spec.Dir, Err: os.ErrNotExist}
	}
	if err == nil {
		info, err = os.Stat(c.spec.Path)
	}
	if err == nil && !executable(info) {
		err = &os.PathError{Op: "execute", Path: c.spec.Path, Err: os.ErrPermission}
	}
	if err != nil {
		return startError(c.spec.Path, err)
	}
	return nil
}

func (c *command) Close() error { return nil }

// tail keeps the end of what was written: that is where programs say what went wrong.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[max(0, len(p)-maxWords):]...)
	if over := len(t.kept) - maxWords; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.kept) }

// into puts what was said into an error, on one line.
func (t *tail) into(e *fault.Error, code, words string) error {
	if words = strings.Join(strings.Fields(words), " "); words != "" {
		e.Reply = &fault.Reply{Protocol: "command", Stage: "exit", Code: code, Text: words}
	}
	return e
}
