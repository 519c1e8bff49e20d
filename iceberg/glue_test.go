package iceberg

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	icego "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/firehosed/firehosed/iceberg/icebergtest"
	"github.com/firehosed/firehosed/internal/control"
	"github.com/firehosed/firehosed/pipeline"
)

// awsKeys are the credentials that the AWS SDK finds in tests.
var awsKeys = icebergtest.Signed{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG", SessionToken: "session+token/="}

// signedBy has the AWS SDK find keys, and nothing of this machine.
func signedBy(t *testing.T, keys icebergtest.Signed) {
	t.Helper()
	for name, val := range map[string]string{
		"AWS_ACCESS_KEY_ID": keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY": keys.SecretAccessKey, "AWS_SESSION_TOKEN": keys.SessionToken,
		"AWS_PROFILE": "", "AWS_REGION": "", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, val)
	}
}

// overGlue puts the rig over a Glue catalog that checks signatures.
func (r *rig) overGlue() *icebergtest.Glue {
	r.Helper()
	signedBy(r.T, awsKeys)
	srv := icebergtest.NewGlue(r.dir, "123456789012")
	srv.Signed = awsKeys
	srv.Signed.Region, srv.Signed.Service = "eu-central-1", "glue"
	r.Cleanup(srv.Close)
	r.srv, r.cat = srv, CatalogConfig{Glue: &GlueConfig{Region: "eu-central-1", Endpoint: srv.URL, CatalogID: "123456789012"}}
	return srv
}

// TestGlue runs what the tests of other files say about a catalog over Glue as well:
// committing, binding, fencing, resuming, maintaining. A commit of another that lands
// after the client has checked its requirements is told by the version id alone.
func TestGlue(t *testing.T) {
	for name, f := range map[string]func(*testing.T){
		"Chain": TestChain, "Zombie": TestZombie, "ForeignAppendsRebase": TestForeignAppendsRebase,
		"StaleLoadIsNeverJudged": TestStaleLoadIsNeverJudged, "RetentionOfTheBranchStays": TestRetentionOfTheBranchStays,
		"RollbackHalts": TestRollbackHaltsAndTheLateRequestIsRefused, "NewerStampIsStale": TestNewerStampIsStale,
		"UserRetriesDoNotMatter": TestUserRetriesDoNotMatter, "SchemaMoved": TestSchemaMoved, "OldFilesAreNotPublished": TestOldFilesAreNotPublished,
		"CreateWhoseAnswerIsLost": TestCreateWhoseAnswerIsLost, "BindIsFinishedByTheNext": TestBindIsFinishedByTheNext, "PropertyThatTheCatalogChanges": TestPropertyThatTheCatalogChangesIsRefused,
		"Fence": TestFence, "FenceOfTablesThatAreNotOK": TestFenceOfTablesThatAreNotOK,
		"ResumeReplay": TestResumeReplay, "ResumeReplayIsFinishedByTheNext": TestResumeReplayIsFinishedByTheNext,
		"ResumeFromTheRows": TestResumeFromTheRows, "ResumeSkip": TestResumeSkip, "ResumeLosesAgainstAFence": TestResumeLosesAgainstAFence,
		"ClaimedByAnotherPipeline": TestClaimedByAnotherPipeline, "TableDroppedOrReplaced": TestTableDroppedOrReplaced,
		"ControlPrefixLost": TestControlPrefixLost, "Forfeit": TestForfeit, "BigVector": TestBigVectorGoesToTheControlPrefix,
		"OneMaintainsAtATime": TestOneMaintainsAtATime, "ForeignTablesAreNotExpired": TestForeignTablesAreNotExpired,
		"VectorsOfGoneSnapshots": TestVectorsOfGoneSnapshotsAreRemoved,
		"UnknownOutcome":         testGlueUnknownOutcome, "Signature": testGlueSignature, "Chunks": testGlueChunks, "Life": testGlueLife,
	} {
		t.Run(name, f)
	}
}

// testGlueUnknownOutcome: the SDK repeats a request whose answer was lost, and the
// repetition of one that was applied is a conflict. Neither may count a row twice.
func testGlueUnknownOutcome(t *testing.T) {
	for name, f := range map[string]icebergtest.Fault{
		"500":                 {Status: http.StatusInternalServerError},
		"503":                 {Status: http.StatusServiceUnavailable, Type: "ServiceUnavailableException"},
		"connection cut":      {Cut: true},
		"conflict, though in": {Status: http.StatusBadRequest, Type: "ConcurrentModificationException"},
		"refused, though in":  {Status: http.StatusBadRequest, Type: "InvalidInputException"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			w := r.worker()
			for i, drop := range []bool{false, true} {
				first := r.srv.Commits() + 1
				r.srv.SetFault(func(n int) icebergtest.Fault {
					if n != first {
						return icebergtest.Fault{}
					}
					f.Drop = drop
					return f
				})
				r.must(r.commit(w, i*100-max(0, 1-i), i*100+100))
				if n := r.srv.Commits() - first + 1; n > 2 {
					t.Errorf("dropped %v: %d requests", drop, n)
				}
			}
			r.want(200, 200)
		})
	}
}

// testGlueSignature: requests that are signed with other keys, or for another region,
// get nothing; so the tests above have shown that ours are signed well.
func testGlueSignature(t *testing.T) {
	for what, want := range map[string]func(*icebergtest.Signed){
		"The signature does not match": func(s *icebergtest.Signed) { s.SecretAccessKey = "another" },
		"security token":               func(s *icebergtest.Signed) { s.SessionToken = "" },
		"scoped to eu-central-1/glue":  func(s *icebergtest.Signed) { s.Region = "us-east-1" },
	} {
		r := newRig(t)
		want(&r.srv.(*icebergtest.Glue).Signed)
		err := r.unbound().sink.CheckCatalog(t.Context())
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(what)) {
			t.Errorf("want %q, got %v", what, err)
		}
	}
}

// testGlueChunks: Glue mirrors properties into parameters, so chunks are small there.
func testGlueChunks(t *testing.T) {
	r := newRig(t)
	w := r.worker()
	ch := newChange(kindData, newID())
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 1500 {
		p := p0
		p.ID = strconv.Itoa(i)
		ch.claims = append(ch.claims, claim(p, -1, 1+rng.IntN(4e9)))
	}
	r.must(w.commitData(t.Context(), ch, r.st, staged{}))
	chunks := 0
	for key, val := range r.meta().Properties() {
		if strings.HasPrefix(key, headerKey("p")+".") {
			chunks++
			if len(val) > chunkNarrow {
				t.Errorf("%s has %d bytes", key, len(val))
			}
		}
	}
	if chunks < 3 {
		t.Errorf("%d chunks: the vector is too small to say anything", chunks)
	}
	b, err := w.load(t.Context())
	r.must(err)
	if b.reg.state != OK || len(b.reg.vec) != 1500 {
		t.Errorf("%s, %d marks", b.reg.state, len(b.reg.vec))
	}
}

// testGlueLife: real rows, a new column, maintenance, rows read back.
func testGlueLife(t *testing.T) {
	r := newRig(t)
	cfg := r.config()
	cfg.Namespace, cfg.KeepSnapshots, cfg.KeepMetadata = "shop", 10, 10
	s, err := New(cfg, pipeline.NewControl(control.Memory(), "p", "test"))
	r.must(err)
	defer func() { r.must(s.Close(t.Context())) }()
	s.mergeFrom = 15
	tab := open(t, s, "t")
	for i := range 16 {
		r.must(deliver(t, tab, p0, i*10-max(0, 1-i), i*10+10, func(i int) any { return i }))
	}
	done, err := s.Maintain(t.Context(), "t")
	r.must(err)
	if done.Manifests == 0 || done.Snapshots == 0 || done.Metadata == 0 {
		t.Errorf("%+v", done)
	}
	if got := coordinates(t, s, "t"); !slices.Equal(got, upTo(160)) {
		t.Errorf("%d rows", len(got))
	}
	r.must(r.srv.Apply("shop.t", icetable.NewSetPropertiesUpdate(icego.Properties{"owner": "somebody"})))
	r.must(deliver(t, tab, p0, 160, 170, func(i int) any { return i }))
	if got := coordinates(t, s, "t"); !slices.Equal(got, upTo(170)) || r.srv.Meta("shop.t").Properties()["owner"] != "somebody" {
		t.Errorf("%d rows, properties %v", len(got), r.srv.Meta("shop.t").Properties())
	}
}
