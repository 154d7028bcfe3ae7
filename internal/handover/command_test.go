package handover_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/internal/extract"
	"postern/internal/fault"
	"postern/internal/handover"
	"postern/internal/secret"
)

// script plays programs by what its first argument says.
func script() int {
	switch what := os.Args[1]; what {
	case "tell": // what it was given
		told := map[string]any{"args": os.Args[2:], "env": os.Environ()}
		told["dir"], _ = os.Getwd()
		_ = json.NewEncoder(os.Stdout).Encode(told)
	case "shout":
		for range 1000 {
			fmt.Println("\x1b[31m" + strings.Repeat("x", 1000))
		}
		fmt.Fprintln(os.Stderr, "and this is why")
		return 1
	case "hang": // and so does what it started, holding on to its output
		child := exec.Command(os.Args[0], "wait")
		child.Stdout, child.Env = os.Stdout, os.Environ()
		if child.Start() == nil {
			_ = os.WriteFile(os.Args[2]+".part", []byte(strconv.Itoa(child.Process.Pid)), 0o600)
			_ = os.Rename(os.Args[2]+".part", os.Args[2])
		}
		time.Sleep(time.Hour)
	case "wait":
		time.Sleep(time.Hour)
	default:
		code, _ := strconv.Atoi(what)
		return code
	}
	return 0
}

func commandOf(t *testing.T, timeout int, env map[string]string, args ...string) handover.Target {
	t.Helper()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	with := map[string]string{"PLAY": "script"}
	for k, v := range env {
		with[k] = v
	}
	return open(t, handover.Spec{Command: &handover.Command{Path: me, Args: args, Env: with, Dir: t.TempDir(), TimeoutSeconds: timeout}}, "")
}

func TestAProgramHasItsTime(t *testing.T) {
	t.Parallel()
	_, err := commandOf(t, 1, nil, "wait").Deliver(t.Context(), staged(t, "one", two))
	if !errors.Is(err, fault.Temporary) || !strings.Contains(fault.HintOf(err), "timeout_seconds") || !fault.As(err).Ambiguous {
		t.Errorf("%v, next %q", err, fault.HintOf(err))
	}
}

func TestAProgramIsGivenDataAndNothingElse(t *testing.T) {
	t.Setenv("HANDOVER_SECRET", "of Postern's own")
	d := staged(t, "one", map[string]string{"--force.pdf": "x"})
	d.Vars.Subject, d.Vars.FromName, d.Vars.BodyText = `$(rm -rf /); "x" `+"`id`\x00\n%PATH%", "-rf", strings.Repeat("ä", 1<<20)
	target := commandOf(t, 0, map[string]string{"MINE": "1"}, "tell", "{subject}", "{from_name}", "x-{from_name}", "{body_text}", "--", "{from_name}", "{saved_path}", "{{}}", "{index}")
	deliver(t, target, d) // with an argument that no system takes whole
	var told struct {
		Args, Env []string
		Dir       string
	}
	d.Vars.BodyText = "short"
	receipt := deliver(t, target, d)
	if err := json.Unmarshal([]byte(strings.TrimPrefix(receipt, "exit 0 ")), &told); err != nil {
		t.Fatalf("%v: %s", err, receipt)
	}
	want := []string{`$(rm -rf /); "x" ` + "`id`\n%PATH%", "_rf", "x--rf", "short", "--", "-rf", d.Files[0].Path, "{}", "1"}
	if strings.Join(told.Args, "|") != strings.Join(want, "|") {
		t.Errorf("the arguments are %q", told.Args)
	}
	env := strings.Join(told.Env, "\n")
	if strings.Contains(env, "HANDOVER_SECRET") || !strings.Contains(env, "POSTERN_DELIVERY=one") || !strings.Contains(env, "MINE=1") || !strings.Contains(env, "PATH=") {
		t.Errorf("the environment is %q", told.Env)
	}
}

func TestWhatAnExitCodeAsksFor(t *testing.T) {
	t.Parallel()
	for code, kind := range map[string]fault.Kind{
		"1": fault.Temporary, "75": fault.Temporary, "74": fault.Temporary, "255": fault.Temporary, "65": fault.Permanent,
		"64": fault.NeedsAdmin, "77": fault.NeedsAdmin, "78": fault.NeedsAdmin, "126": fault.NeedsAdmin, "127": fault.NeedsAdmin,
	} {
		if _, err := commandOf(t, 0, nil, code).Deliver(t.Context(), staged(t, "one", two)); fault.KindOf(err) != kind || err == nil {
			t.Errorf("exit %s: %v is %v", code, err, fault.KindOf(err))
		}
	}
}

func TestOutputIsBoundedAndItsEndIsKept(t *testing.T) {
	t.Parallel()
	_, err := commandOf(t, 0, nil, "shout").Deliver(t.Context(), staged(t, "one", two))
	if err == nil || len(err.Error()) > 3000 || !strings.Contains(err.Error(), "and this is why") || strings.ContainsAny(err.Error(), "\x1b\n") {
		t.Errorf("%d octets: %v", len(err.Error()), err)
	}
}

func TestCommandsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, spec := range []handover.Command{
		{}, {Path: "ls"}, {Path: "bin/ls"}, {Path: "/bin/ls", Dir: "here"}, {Path: "/bin/ls", Args: []string{"{nothing}"}},
		{Path: "/bin/ls", Env: map[string]string{"A=B": "x"}},
		{Path: "/bin/sh", Args: []string{"-c", "echo {subject}"}}, {Path: "/usr/bin/bash", Args: []string{"-euc", "echo {subject}"}},
		{Path: "/usr/bin/pwsh", Args: []string{"-Command", "echo {subject}"}}, {Path: "/usr/bin/pwsh", Args: []string{"-c", "{subject}"}},
	} {
		if _, err := handover.New(handover.Spec{Command: &spec}, handover.With{}); !errors.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", spec, err)
		}
	}
	for _, spec := range []handover.Command{
		{Path: "/bin/sh", Args: []string{"-c", `echo "$1"`, "sh", "{subject}"}}, {Path: "/bin/tar", Args: []string{"-c", "{saved_path}"}},
		{Path: "/usr/bin/pwsh", Args: []string{"-NoProfile", "-File", "x.ps1", "{subject}"}},
	} {
		if _, err := handover.New(handover.Spec{Command: &spec}, handover.With{}); err != nil {
			t.Errorf("%+v: %v", spec, err)
		}
	}
}

func TestACheckOfACommandDoesNotRunIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plain, ran := filepath.Join(dir, "plain"), filepath.Join(dir, "run")
	for path, mode := range map[string]os.FileMode{plain: 0o600, ran: 0o700} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\ntouch "+dir+"/done\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for path, ok := range map[string]bool{ran: true, plain: false, dir: false, dir + "/missing": false} {
		target, err := handover.New(handover.Spec{Command: &handover.Command{Path: path, Dir: dir}}, handover.With{Key: secret.Text{}, Name: extract.SafeName})
		if err != nil {
			t.Fatal(err)
		}
		err = target.Check(t.Context())
		if _, ran := os.Stat(dir + "/done"); ran == nil {
			t.Error("the check ran it")
		}
		if (err == nil) != ok || err != nil && (!errors.Is(err, fault.NeedsAdmin) || fault.HintOf(err) == "") {
			t.Errorf("%s: %v, next %q", path, err, fault.HintOf(err))
		}
		if _, err := target.Deliver(t.Context(), staged(t, "one", two)); !ok && !errors.Is(err, fault.NeedsAdmin) {
			t.Errorf("%s: %v is %v", path, err, fault.KindOf(err))
		}
		if _, err := os.Stat(dir + "/done"); ok && err != nil {
			t.Error("a delivery did not run it: ", err)
		}
		_ = os.Remove(dir + "/done")
	}
}
