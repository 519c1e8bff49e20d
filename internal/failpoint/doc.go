// Package failpoint has named points in the code where a test build stops,
// fails or stalls. In a build without the tag failpoint, Hit and Err are empty,
// are inlined, and leave nothing behind, not even the names.
//
//	failpoint.Hit("commit.sent")
//	if err := failpoint.Err("file.afterUpload"); err != nil {
//		return err
//	}
//
// With the tag, the environment says what happens where:
//
//	FIREHOSED_FAILPOINT="commit.sent=exit@3;gc.beforeDelete=sleep(5s)"
//
// Entries are separated by semicolons: a name, an action, and @n for the n-th
// time that the point is reached in this process (default 1, the first). @* is
// every time. A name may have several entries. An entry that cannot be read, or
// names no point of the list below, ends the process with exit code 2 when the
// first point is reached. The actions:
//
//	exit          ends the process at once with exit code 137, as SIGKILL does: nothing deferred runs
//	exit(n)       the same with another exit code
//	panic         panics
//	error         Err returns an error that is ErrInjected; at a Hit, as panic
//	sleep(5s)     waits, then goes on: a process that was paused
//	block         never goes on
//	block(path)   goes on when the file path exists
//
// The points, in the order in which a record meets them:
//
//	src.poll.afterFetch            src.assign.beforeSeek         src.assign.afterSeek          src.revoke.before  src.revoke.after
//	route.afterRoute               buf.beforeCut                 buf.afterCut
//	schema.beforeEvolve            schema.afterEvolveSent        schema.afterEvolve
//	file.beforeCreate              file.midRowGroup              file.beforeClose              file.afterClose    file.afterUpload   file.afterVerify
//	commit.beforeLoad              commit.afterLoad              commit.afterCheck             commit.afterManifest  commit.afterManifestList
//	commit.beforeSend              commit.sent                   commit.afterApplyBeforeReply  commit.afterReply
//	commit.beforeResolve           commit.afterResolve           commit.beforeLocalAdvance     commit.afterLocalAdvance
//	group.beforeCommit             group.afterCommit             table2.beforeCommit (between tables)
//	combine.beforeSubmit           combine.afterGather           combine.afterCommitBeforeAnswer
//	wal.beforeAppend  wal.afterAppendBeforeFsync  wal.afterFsyncBeforeAck  wal.afterAck  wal.beforeRoll  wal.beforeSegmentDelete
//	gc.beforeList  gc.beforeDelete    shutdown.drainStart  shutdown.afterDrain    config.beforeBarrier  config.afterBarrier
//
// commit.afterApplyBeforeReply is reached from the catalog's side: the catalog
// of a test, or a proxy before it, kills the worker between applying and
// answering. Points of parts that are not built, combine.* and wal.*, are in no
// code yet; integration/failpoints takes all others. The durable write of an origin lies between src.assign.beforeSeek
// and .afterSeek, that of a barrier between the two config points. Bind, fence,
// catch-up, resume and redrive pass the same commit, group and table2 points.
package failpoint

import "errors"

// ErrInjected is what the error action makes Err return.
var ErrInjected = errors.New("injected by a failpoint")
