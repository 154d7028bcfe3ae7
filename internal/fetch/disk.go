package fetch

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"postern/internal/fault"
)

// errDisk marks failures of the directory, as opposed to the message's or the
// mailbox's. They end the run: the next message would fare no better.
var errDisk = errors.New("directory")

// disk is the directory a task stages files in: its own, where they get their final
// names, or a private one of ours, when only a target wants them. Staging names carry
// a mark of the task, so that tasks may share a directory without sweeping each
// other's files.
type disk struct {
	dir     string
	mark    string
	private bool
	step    func(string) // tests cut the run here
	buffers *sync.Pool   // of *bufio.Writer
	volume  *volume      // nil until a run begins to write
	stock   *stock       // nil where it is not known how many files there will be
}

const (
	stagingPrefix = ".postern-"
	stagingSuffix = ".part"
	orphanAge     = time.Hour // younger ones may be another node's, whose lock we do not know to be lost
)

func newDisk(t Task, spool string, step func(string)) disk {
	sum := sha256.Sum256([]byte(t.Name))
	d := disk{dir: t.Handover.Directory, mark: stagingPrefix + hex.EncodeToString(sum[:4]), step: step}
	d.buffers = &sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 64<<10) }}
	if d.dir == "" {
		d.private, d.dir = true, filepath.Join(spool, hex.EncodeToString(sum[:8]))
	}
	d.dir = filepath.Clean(d.dir)
	return d
}

// diskError classifies: what a person must put right, and what time may.
func (d disk) diskError(op string, err error) error {
	if err == nil {
		return nil
	}
	e := &fault.Error{Kind: fault.Temporary, Op: op, Err: errors.Join(errDisk, err)}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return e.WithHint("make room in %s; the mail stays in the mailbox and is fetched then", d.dir)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		e.Kind = fault.NeedsAdmin
		return e.WithHint("create the directory %s, or mount it", d.dir)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		e.Kind = fault.NeedsAdmin
		return e.WithHint("let the service write to %s", d.dir)
	}
	return e
}

// check looks whether the directory is there, before the mailbox is bothered.
func (d disk) check() error {
	if !filepath.IsAbs(d.dir) {
		return fault.New(fault.Invalid, "open directory", "%q is not an absolute path", d.dir)
	}
	if d.private {
		if err := os.MkdirAll(d.dir, 0o700); err != nil {
			return d.diskError("make spool", err)
		}
	}
	info, err := os.Stat(d.dir)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: d.dir, Err: syscall.ENOTDIR}
	}
	return d.diskError("open directory", err)
}

// anchor is a hidden empty file that tells this directory from the bare mount
// point that is seen when a drive is missing. Without it, staging files that are
// gone would be taken for renamed ones.
func (d disk) anchor() string { return d.mark + ".here" }

func (d disk) dropAnchor() error {
	f, err := os.OpenFile(filepath.Join(d.dir, d.anchor()), os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = f.Close()
	}
	return d.diskError("write to directory", err)
}

// anchored reports whether dir is one in which files were staged before.
func (d disk) anchored(dir string) error {
	_, err := os.Lstat(filepath.Join(dir, d.anchor()))
	if errors.Is(err, fs.ErrNotExist) {
		return (&fault.Error{Kind: fault.NeedsAdmin, Op: "resume hand-over", Err: errors.Join(errDisk, err)}).
			WithHint("files were staged in %s, and it is another directory now: mount the right one. If it is the right one, create the empty file %s in it", dir, d.anchor())
	}
	return d.diskError("resume hand-over", err)
}

// stagedFile is a file being written under its staging name.
type stagedFile struct {
	d    disk
	f    *os.File
	buf  *bufio.Writer // until it is closed
	hash hash.Hash
	size int64
}

func (d disk) create() (output, error) {
	f, err := d.stock.take(d.open)
	if err != nil {
		return nil, d.diskError("stage file", err)
	}
	d.step("created")
	buf := d.buffers.Get().(*bufio.Writer)
	buf.Reset(f)
	return &stagedFile{d: d, f: f, buf: buf, hash: sha256.New()}, nil
}

// open makes a staging file.
func (d disk) open() (*os.File, error) {
	path := filepath.Join(d.dir, d.mark+"-"+strings.ToLower(rand.Text())+stagingSuffix)
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // consumers are other users; the umask narrows it
}

// stock are staging files that are made while the messages they are for still come: to
// make a file takes as long as to read a small message.
type stock struct {
	made chan madeFile
	quit chan struct{}
}

type madeFile struct {
	f   *os.File
	err error
}

// stockUp makes n files, a few ahead of those that are taken.
func (d disk) stockUp(n int) *stock {
	const ahead = 8
	s := &stock{made: make(chan madeFile, ahead), quit: make(chan struct{})}
	go func() {
		defer close(s.made)
		for range n {
			f, err := d.open()
			select {
			case s.made <- madeFile{f, err}:
			case <-s.quit:
				drop(f)
				return
			}
		}
	}()
	return s
}

// take is a file of the stock, or one made now when there is none.
func (s *stock) take(open func() (*os.File, error)) (*os.File, error) {
	if s != nil {
		if next, ok := <-s.made; ok {
			return next.f, next.err
		}
	}
	return open()
}

// close removes what nobody took.
func (s *stock) close() {
	if s == nil {
		return
	}
	close(s.quit)
	for left := range s.made {
		drop(left.f)
	}
}

func drop(f *os.File) {
	if f != nil {
		_ = errors.Join(f.Close(), os.Remove(f.Name())) // what cannot be removed now is swept later
	}
}

// Write appends to the file.
func (s *stagedFile) Write(p []byte) (int, error) {
	n, err := s.buf.Write(p)
	s.size += int64(n)
	_, _ = s.hash.Write(p[:n]) // never fails
	return n, s.d.diskError("stage file", err)
}

// Close ends writing; nothing is durable yet.
func (s *stagedFile) Close() error {
	err := s.buf.Flush()
	s.buf.Reset(nil)
	s.d.buffers.Put(s.buf)
	s.d.step("written")
	err = cmp.Or(err, s.f.Close())
	s.d.volume.written()
	return s.d.diskError("stage file", err)
}

func (s *stagedFile) file() File {
	return File{Staging: s.f.Name(), Size: s.size, SHA256: hex.EncodeToString(s.hash.Sum(nil))}
}

// harden makes staged files durable, then their names.
func (d disk) harden(files []File) error {
	dirs := map[string]bool{}
	var paths []string
	for _, f := range files {
		if f.Staging != "" {
			paths = append(paths, f.Staging)
			dirs[filepath.Dir(f.Staging)] = true
		}
	}
	if err := d.diskError("sync file", d.syncAll(paths, dirs)); err != nil {
		return err
	}
	d.step("synced")
	if !d.private {
		if err := d.dropAnchor(); err != nil {
			return err
		}
	}
	for dir := range dirs {
		if err := d.sync(dir); err != nil {
			return err
		}
	}
	return nil
}

const (
	openAtOnce  = 250 // files that are open to be made durable
	syncsAtOnce = 8   // of them: disks are better at many
)

const manyFiles = 16 // are worth writing out what else there is to be written

// syncAll makes files durable that are in dirs: together, or one by one.
func (d disk) syncAll(paths []string, dirs map[string]bool) error {
	if len(paths) >= manyFiles && len(dirs) == 1 && dirs[d.dir] {
		if done, err := d.volume.flush(d.dir); done || err != nil {
			return err
		}
	}
	for some := range slices.Chunk(paths, openAtOnce) {
		if err := syncFiles(some); err != nil {
			return err
		}
	}
	return nil
}

// syncFiles has all of the files on their way to the disk before it waits for the first:
// file systems then write them together, and find little left to do for the others.
func syncFiles(paths []string) (err error) {
	files := make([]*os.File, 0, len(paths))
	defer func() {
		for _, f := range files {
			err = cmp.Or(err, f.Close())
		}
	}()
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // a name we staged; Windows syncs only what may be written
		if err != nil {
			return err
		}
		files = append(files, f)
		beginSync(f)
	}
	var g errgroup.Group
	for n := range min(syncsAtOnce, len(files)) {
		g.Go(func() error {
			for i := n; i < len(files); i += syncsAtOnce {
				if err := files[i].Sync(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// syncNames makes the final names of parcels' files durable, and those of the
// directories that were made for them.
func (d disk) syncNames(list []*parcel) error {
	dirs := map[string]bool{}
	for _, p := range list {
		for _, f := range p.Files {
			if f.Staging == "" {
				continue
			}
			root := filepath.Dir(f.Staging)
			for dir := filepath.Dir(filepath.Join(root, filepath.FromSlash(f.Name))); !dirs[dir]; dir = filepath.Dir(dir) {
				dirs[dir] = true
				if dir == root {
					break
				}
			}
		}
	}
	for dir := range dirs {
		if err := d.sync(dir); err != nil {
			return err
		}
	}
	return nil
}

// discard removes staging files that were not promised; what cannot be removed now
// is swept later.
func discard(files []File) {
	for _, f := range files {
		if f.Staging != "" {
			_ = os.Remove(f.Staging)
		}
	}
}

// sweep removes the task's orphans.
func (d disk) sweep(promised map[string]bool, now time.Time) error {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return d.diskError("open directory", err)
	}
	for _, e := range entries {
		name := e.Name()
		path := filepath.Join(d.dir, name)
		if !strings.HasPrefix(name, d.mark+"-") || !strings.HasSuffix(name, stagingSuffix) || promised[path] {
			continue
		}
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > orphanAge {
			_ = os.Remove(path) // it is in nobody's way
		}
	}
	return nil
}

// exists reports whether a name is used in the directory.
func exists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// moved is what became of a rename.
type moved uint8

const (
	movedNow    moved = iota
	movedBefore       // the staging name is gone: an earlier run renamed it
	nameTaken         // a foreign file has the final name
	wayTaken          // a foreign file has the name of a folder on the way there
)

// place renames a staged file to its final name, without touching a file that has that
// name already unless it is to be overwritten.
func (d disk) place(f File, overwrite bool) (moved, error) {
	dir := filepath.Dir(f.Staging)
	final := filepath.Join(dir, filepath.FromSlash(f.Name))
	if err := d.makeWay(dir, filepath.Dir(final)); err != nil {
		if (errors.Is(err, syscall.ENOTDIR) || errors.Is(err, fs.ErrExist)) && way(dir, path.Dir(f.Name)) != path.Dir(f.Name) {
			return wayTaken, nil
		}
		return 0, err
	}
	rename := renameNew
	if overwrite {
		rename = os.Rename
	}
	err := rename(f.Staging, final)
	switch {
	case err == nil:
		return movedNow, nil
	case errors.Is(err, fs.ErrExist):
		return d.collided(f.Staging, final)
	case errors.Is(err, fs.ErrNotExist):
		return movedBefore, d.anchored(dir)
	}
	return 0, d.diskError("rename file", err)
}

// makeWay makes the directories below the task's. That one is never made here: when it
// is away, it may be a mount that is.
func (d disk) makeWay(root, dir string) error {
	if dir == root {
		return nil
	}
	if _, err := os.Stat(root); err != nil {
		return d.diskError("make directory", err)
	}
	return d.diskError("make directory", os.MkdirAll(dir, 0o755)) //nolint:gosec // consumers are other users; the umask narrows it
}

// collided tells a foreign file from our own, linked but not yet unlinked.
func (d disk) collided(staging, final string) (moved, error) {
	s, err := os.Lstat(staging)
	if errors.Is(err, fs.ErrNotExist) {
		return movedBefore, d.anchored(filepath.Dir(staging))
	}
	if err != nil {
		return 0, d.diskError("rename file", err)
	}
	if f, err := os.Lstat(final); err == nil && os.SameFile(s, f) {
		return movedNow, d.diskError("rename file", os.Remove(staging))
	}
	return nameTaken, nil
}

// sync makes the names in a directory durable.
func (d disk) sync(dir string) error { return d.diskError("sync directory", syncDir(dir)) }
