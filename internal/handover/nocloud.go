//go:build !cloudkeys

package handover

import "postern/internal/fault"

// openCloud says that this build knows S3 only.
func openCloud(scheme, _, _ string, _ Object, _ With) (bucket, string, error) {
	switch scheme {
	case "azblob", "gs", "file":
		return nil, "", fault.New(fault.Invalid, openStore, "this build of Postern has no %s://", scheme).
			WithHint("run a build that has: go build -tags cloudkeys ./cmd/postern; S3 is in every build, and for a directory of this machine give a folder")
	}
	return nil, "", fault.New(fault.Invalid, openStore, "%s:// is no store", scheme).WithHint("known: s3://, and with the build tag cloudkeys azblob://, gs:// and file://")
}
