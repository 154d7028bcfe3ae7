package handover

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"postern/internal/fault"
	"postern/internal/secret"
)

// Object describes an object store. Amazon's S3 and all that speak like it are in every
// build; azblob, gs and file only in those with the tag cloudkeys.
type Object struct {
	URL      string `json:"url" yaml:"url"`                               // s3://BUCKET/PREFIX, azblob://CONTAINER/PREFIX, gs://BUCKET/PREFIX, file:///DIRECTORY
	Endpoint string `json:"endpoint,omitempty" yaml:"endpoint,omitempty"` // https://s3.example.com, where the store is not Amazon's, Microsoft's or Google's own
	Region   string `json:"region,omitempty" yaml:"region,omitempty"`     // of S3; asked for when it is not given
	KeyID    string `json:"key_id,omitempty" yaml:"key_id,omitempty"`     // S3: access key id; Azure: storage account. Without, this machine's identity is used
	CA       string `json:"ca,omitempty" yaml:"ca,omitempty"`             // PEM of the endpoint's authority
	Name     string `json:"name,omitempty" yaml:"name,omitempty"`         // template below the prefix; {yyyy}/{MM}/{filename} by default
	Clash    Clash  `json:"clash,omitempty" yaml:"clash,omitempty"`       // rename by default

	TimeoutSeconds int `json:"timeout_seconds,omitempty" yaml:"timeout_seconds,omitempty"` // for a whole delivery; 900 by default
}

// ObjectName is the template of an object's name where none is given.
const ObjectName = "{yyyy}/{MM}/{filename}"

// Clash says what to do when another delivery's object has the name.
type Clash string

// The rules.
const (
	ClashRename    Clash = "rename"
	ClashOverwrite Clash = "overwrite"
	ClashSkip      Clash = "skip"
	ClashFail      Clash = "fail"
)

// bucket is a store in which one may put what is not there yet. Its errors are classified.
type bucket interface {
	// look returns the mark an object was put with, "" for one that was not put by us;
	// fault.NotFound when there is no such object.
	look(ctx context.Context, name string) (mark string, err error)
	// put is all or nothing. With fresh it is fault.Conflict when there is an object of
	// that name, as far as the store can tell.
	put(ctx context.Context, name string, c content, fresh bool) error
	remove(ctx context.Context, name string) error
	Close() error
}

// content is what is put under a name.
type content struct {
	body   io.ReadSeeker
	size   int64
	typ    string
	sha256 string // hex
	mark   string // of the delivery, the file's place in it and the content
}

// The metadata that objects carry.
const (
	metaDigest = "sha256"
	metaMark   = "postern"
)

// objects is a target in a bucket.
type objects struct {
	spec   Object
	prefix string // with its slash, if there is one
	name   PathTemplate
	safe   SafeName
	key    secret.Text
	in     bucket
}

const (
	openStore = "open store"
	putObject = "put object"
)

func newObject(spec Object, with With) (Target, error) {
	scheme, rest, ok := strings.Cut(spec.URL, "://")
	if !ok || rest == "" || strings.ContainsAny(rest, "?#\\") {
		return nil, fault.New(fault.Invalid, putObject, "%q is no address of a store", spec.URL).
			WithHint("write s3://BUCKET or s3://BUCKET/PREFIX; azblob:// and gs:// likewise")
	}
	where, prefix, _ := strings.Cut(rest, "/")
	var in bucket
	var err error
	if scheme == "s3" {
		in, err = openS3(where, spec, with)
	} else {
		in, prefix, err = openCloud(scheme, where, prefix, spec, with)
	}
	if err != nil {
		return nil, err
	}
	return newObjects(spec, prefix, in, with)
}

// newObjects is the target over a bucket that is open.
func newObjects(spec Object, prefix string, in bucket, with With) (*objects, error) {
	if spec.Name == "" {
		spec.Name = ObjectName
	}
	if spec.Clash == "" {
		spec.Clash = ClashRename
	}
	o := &objects{spec: spec, safe: with.Name, key: with.Key, in: in}
	switch spec.Clash {
	case ClashRename, ClashOverwrite, ClashSkip, ClashFail:
	default:
		return nil, fault.New(fault.Invalid, putObject, "%q is no clash rule", spec.Clash).WithHint("allowed: rename, overwrite, skip, fail")
	}
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		o.prefix = prefix + "/"
	}
	var err error
	o.name, err = ParsePath(spec.Name)
	return o, err
}

// Deliver puts the files, and the manifest after them.
func (o *objects) Deliver(ctx context.Context, d Delivery) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, seconds(o.spec.TimeoutSeconds, 15*time.Minute))
	defer cancel()
	taken := make(map[string]bool) // by this delivery; in lower case, for it may be synchronised to a disk
	var receipt []string
	dir := ""
	for i, f := range d.Files {
		f = f.at(i)
		name, err := o.name.Make(d.Vars.With(f, o.safe), o.safe)
		if err != nil {
			return "", err
		}
		if dir == "" {
			dir = path.Dir(name)
		}
		mark := markOf(d.ID, f.Index, f.SHA256)
		if taken[strings.ToLower(name)] {
			name = renamed(name, mark)
		}
		taken[strings.ToLower(name)] = true
		line, err := o.file(ctx, name, mark, f)
		if err != nil {
			return "", err
		}
		receipt = append(receipt, line)
	}
	if d.Manifest != nil {
		line, err := o.manifest(ctx, dir, d)
		if err != nil {
			return "", err
		}
		receipt = append(receipt, line)
	}
	return bounded(strings.Join(receipt, "\n")), nil
}

// file puts one file.
func (o *objects) file(ctx context.Context, name, mark string, f File) (string, error) {
	body, err := f.open(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = body.Close() }()
	return o.give(ctx, name, content{body: body, size: f.Size, typ: f.ContentType, sha256: f.SHA256, mark: mark}, o.spec.Clash)
}

// manifest puts the manifest beside the first file, under a name that is the delivery's own.
func (o *objects) manifest(ctx context.Context, dir string, d Delivery) (string, error) {
	if dir == "" {
		name, err := o.name.Make(d.Vars, o.safe)
		if err != nil {
			return "", err
		}
		dir = path.Dir(name)
	}
	sum := sha256.Sum256(d.Manifest)
	digest := hex.EncodeToString(sum[:])
	mark := markOf(d.ID, 0, "") // the same delivery's manifest, whatever it says
	c := content{body: bytes.NewReader(d.Manifest), size: int64(len(d.Manifest)), typ: "application/json", sha256: digest, mark: mark}
	return o.give(ctx, path.Join(dir, "message-"+mark[:12]+".manifest.json"), c, ClashOverwrite)
}

// markOf is what an object is recognised by when a delivery is repeated.
func markOf(id string, index int, digest string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %d %s", id, index, digest))
	return hex.EncodeToString(sum[:16])
}

// renamed is the other name of an object: the delivery's own, so that a repeated one
// finds it again.
func renamed(name, mark string) string {
	dir, base := path.Split(name)
	return dir + suffixed(base, " ("+mark[:8]+")", maxSegment)
}

// give puts c under name, or does what the clash rule says. It looks first, though most
// stores can refuse to overwrite: those that cannot would not say so, and a large file
// that is there already is not sent again.
func (o *objects) give(ctx context.Context, name string, c content, rule Clash) (string, error) {
	fresh := true
	for {
		full := o.prefix + name
		there, err := o.in.look(ctx, full)
		if errors.Is(err, fault.NotFound) || err == nil && there != c.mark && !fresh {
			err = o.in.put(ctx, full, c, fresh)
			if errors.Is(err, fault.Conflict) { // somebody was faster, or an earlier try of ours was late
				there, err = o.in.look(ctx, full)
			} else if err == nil {
				there = c.mark
			}
		}
		switch {
		case errors.Is(err, fault.NotFound): // it was in the way a moment ago, or is about to be
			return "", fault.New(fault.Temporary, putObject, "the store says that %s is taken and that there is none: %w", o.address(name), err).
				WithHint("wait: another puts or removes it at this moment; the delivery is tried again by itself")
		case err != nil:
			return "", err
		case there == c.mark:
			return o.address(name), nil
		case rule == ClashSkip:
			return "skipped, it is there: " + o.address(name), nil
		case rule == ClashOverwrite && fresh:
			fresh = false
		case rule == ClashRename && !strings.Contains(name, c.mark[:8]):
			name = renamed(name, c.mark)
		default:
			return "", fault.New(fault.Conflict, putObject, "there is another %s", o.address(name)).
				WithHint("take it away, or choose the clash rule rename, overwrite or skip")
		}
		if _, err := c.body.Seek(0, io.SeekStart); err != nil {
			return "", fault.Wrap(fault.Temporary, readStaged, err)
		}
	}
}

// address is where an object is, for people.
func (o *objects) address(name string) string {
	scheme, rest, _ := strings.Cut(o.spec.URL, "://")
	where, _, _ := strings.Cut(rest, "/")
	if scheme == "file" {
		return strings.TrimSuffix(o.spec.URL, "/") + "/" + name
	}
	return scheme + "://" + where + "/" + o.prefix + name
}

// probe is always the same, so that a store whose objects may not be removed has one.
const probe = ".postern-check"

// Check puts a small object, looks at it, and removes it. That it may not be removed is
// no failure: deliveries remove nothing.
func (o *objects) Check(ctx context.Context) error {
	const said = "Postern was here to see whether it can write.\n"
	mark := markOf(probe, 0, "")
	name := o.prefix + probe
	err := o.in.put(ctx, name, content{body: strings.NewReader(said), size: int64(len(said)), typ: "text/plain", mark: mark}, false)
	if err != nil {
		return err
	}
	if there, err := o.in.look(ctx, name); err != nil {
		return err
	} else if there != mark {
		return fault.New(fault.NeedsAdmin, "check store", "it does not keep the metadata of objects").
			WithHint("use a store that does: repeated deliveries are recognised by it")
	}
	if err := o.in.remove(ctx, name); err != nil && !errors.Is(err, fault.NeedsAdmin) {
		return err
	}
	return nil
}

func (o *objects) Close() error { return o.in.Close() }
