/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a program gets onto a cluster and runs there.
 *
 * One ssh session from the lab server to the first VM carries everything: script, hostfile, program. The script there
 * copies the program to the other VMs, all at once, and starts mpirun; mpirun's own ssh then shares the connections
 * that the copying opened (ControlMaster), so each VM pays for one handshake only: on a slow PC that is what counts.
 *
 * Open MPI gets told what it cannot guess: the cluster net as the only interface of its own traffic and of its
 * runtime's (a VM may have others), plain TCP and shared memory as transports (looking for fabrics costs seconds),
 * no tree spawn (VMs are opened from the first one), no binding (VMs have few CPUs, sometimes fewer than ranks).
 *
 * The session's end is the run's: when the lab server's side of it is gone, killed or cut off, so is the program.
 *
 * Texts from people are quoted as single shell words; nothing of this is ever run by a shell on the lab server. */
#include "controller/plan/run.h"

void shell_quote(struct buf *out, const char *text)
{
	buf_adds(out, "'");
	for (const char *c = text; *c; c++)
		if (*c == '\'')
			buf_adds(out, "'\\''");
		else
			buf_add(out, c, 1);
	buf_adds(out, "'");
}

size_t run_vms(const struct run_plan *plan)
{
	return plan->ranks < plan->vms->n ? (size_t)plan->ranks : plan->vms->n;
}

char *plan_run_hostfile(const struct run_plan *plan)
{
	struct buf text = {0};
	for (size_t i = 0; i < run_vms(plan); i++)
		buf_addf(&text, "%s slots=%llu\n", plan->vms->at[i].id, (unsigned long long)plan->cpus);
	return buf_take(&text);
}

static void add_head(struct buf *out, const struct run_plan *plan)
{
	buf_addf(out, "# run %lld\numask 077\n", (long long)plan->id);
	buf_adds(out, "program=");
	shell_quote(out, plan->name);
	buf_addf(out, "\ndir=run-%lld\nothers=\"", (long long)plan->id);
	for (size_t i = 1; i < run_vms(plan); i++)
		buf_addf(out, "%s%s", i > 1 ? " " : "", plan->vms->at[i].id);
	buf_adds(out, "\"\n"
		      "share=\"-o BatchMode=yes -o ConnectTimeout=90 -o ConnectionAttempts=3 -o LogLevel=ERROR"
		      " -o ControlMaster=auto -o ControlPersist=600 -o ControlPath=$PWD/c%C\"\n");
}

/* sshd sends no signal when a session without a terminal breaks off, but standard input ends. Nothing comes on it
 * before, so the one `read` waits for that, and then ends the process group that sshd gave the session: the script, and
 * mpirun with its ranks. Nobody else holds that input: its socket is the output's, too, whose end sshd waits for. Of a
 * line that is cut sshd learns by asking (ClientAliveInterval, which our images set) or when it writes.
 *
 * It asks first and kills RUN_END_GRACE_S later, whatever heeds no SIGTERM, and what never had it: dash blocks signals
 * while it makes a process, so one that is made in that moment is not yet in the group when the group is asked. */
static void add_watch(struct buf *out)
{
	buf_addf(out,
		"exec 3<&0\n"
		"(trap '' TERM; read -r end; kill -TERM 0; sleep %d; kill -KILL 0) <&3 3<&- >/dev/null 2>&1 &\n"
		"watch=$!\n"
		"exec 3<&- </dev/null\n",
		RUN_END_GRACE_S);
}

static void add_copy(struct buf *out)
{
	buf_addf(out,
		"pids=\n"
		"for vm in $others; do\n"
		"\tssh $share \"$vm\" \"umask 077; mkdir -p $dir && cat >$dir/'$program' &&"
		" chmod 700 $dir/'$program'\" <\"$program\" >\"copy-$vm.log\" 2>&1 &\n"
		"\tpids=\"$pids $!\"\n"
		"done\n"
		"code=0\n"
		"for pid in $pids; do wait \"$pid\" || code=%d; done\n"
		"if [ $code -ne 0 ]; then\n"
		"\techo \"" RUN_NOT_STAGED ":\" >&2\n"
		"\tcat copy-*.log >&2\n"
		"fi\n",
		RUN_EXIT_STAGING);
}

static void add_mpirun(struct buf *out, const struct run_plan *plan)
{
	char net[PREFIX4_TEXT];
	prefix4_format(prefix4_network(plan->net), net);
	buf_addf(out,
		"if [ $code -eq 0 ]; then\n"
		"\tmpirun -n %llu --hostfile hosts --map-by node --bind-to none%s \\\n"
		"\t\t--wdir \"$PWD\" --mca plm rsh --mca plm_rsh_agent \"ssh $share\" \\\n"
		"\t\t--mca plm_rsh_no_tree_spawn 1 --mca pml ob1 --mca btl self,vader,tcp \\\n"
		"\t\t--mca btl_vader_single_copy_mechanism none \\\n"
		"\t\t--mca btl_tcp_if_include %s --mca oob_tcp_if_include %s \\\n"
		"\t\t\"./$program\"",
		(unsigned long long)plan->ranks,
		plan->ranks > plan->cpus * run_vms(plan) ? " --oversubscribe" : "", net, net);
	for (size_t i = 0; plan->args && i < plan->args->n; i++) {
		buf_adds(out, " ");
		shell_quote(out, plan->args->at[i]);
	}
	buf_adds(out, " </dev/null\n\tcode=$?\nfi\n");
}

static void add_tail(struct buf *out)
{
	buf_adds(out, "{ kill -KILL $watch; wait $watch; } 2>/dev/null\n"
		      "for vm in $others; do\n"
		      "\t(ssh $share \"$vm\" \"rm -rf $dir\"; ssh $share -O exit \"$vm\") </dev/null"
		      " >/dev/null 2>&1 &\n"
		      "done\n"
		      "wait\n"
		      "cd && rm -rf \"$dir\"\n"
		      "exit $code\n");
}

char *plan_run_script(const struct run_plan *plan)
{
	struct buf out = {0};
	add_head(&out, plan);
	add_watch(&out);
	add_copy(&out);
	add_mpirun(&out, plan);
	add_tail(&out);
	return buf_take(&out);
}

char *plan_run_command(const struct run_plan *plan, size_t script_len, size_t hostfile_len, size_t program_len)
{
	struct buf out = {0};
	buf_addf(&out, "umask 077; cd && mkdir -p run-%lld && cd run-%lld && head -c %zu >run.sh && head -c %zu >hosts",
		(long long)plan->id, (long long)plan->id, script_len, hostfile_len);
	buf_addf(&out, " && head -c %zu >", program_len);
	shell_quote(&out, plan->name);
	buf_adds(&out, " && chmod 700 ");
	shell_quote(&out, plan->name);
	buf_adds(&out, " && exec sh run.sh");
	return buf_take(&out);
}
