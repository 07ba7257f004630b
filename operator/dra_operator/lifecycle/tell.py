"""What a pod is told that has no devices, or cannot use them: one write of its status, and an Event where it is news.

The code is told at once. A new sentence for the same code waits until the last write is `Policy.condition_interval`
old; the pod is then looked at again, so that the last one gets there.

Invariant: `tell` adds an Event only where the pod's condition has another reason, or none.

Not here: what the write states (`publish.py`), and what is given back before (`giveback.py`).

Upstream: none; kube-scheduler writes PodScheduled at every attempt.
"""

from __future__ import annotations

from dra_operator.api.names import DEVICES_ALLOCATED
from dra_operator.api.reasons import Reason
from dra_operator.lifecycle.actions import Notice
from dra_operator.lifecycle.look import Look
from dra_operator.lifecycle.publish import condition, publish
from dra_operator.lifecycle.verdict import Verdict


def tell(
    look: Look,
    reason: Reason,
    message: str,
    *,
    waits: bool = False,
    retry_at: float | None = None,
    message_due: bool = False,
) -> Verdict:
    """The pod's condition gives this reason. `message_due`: the sentence, too, and now."""
    interval = look.policy.condition_interval
    written = look.view.message_written.get(look.pod.uid)
    due = message_due or written is None or not 0 <= look.now - written < interval
    current = look.pod.condition(DEVICES_ALLOCATED)
    wanted = condition(look.pod, reason, message, look.now)
    write = publish(look.pod, look.names, wanted, message_due=due)
    news = current is None or current.reason != reason
    later = write is None and current is not None and current.message != wanted.message
    return Verdict(
        actions=() if write is None else (write,),
        notices=(notice(look, "Warning", reason, message),) if news else (),
        reason=reason,
        message=message,
        waits=waits,
        requeue_after=look.until(retry_at, written + interval if later and written is not None else None),
    )


def notice(look: Look, type_: str, reason: Reason, message: str) -> Notice:
    """An Event about the pod."""
    return Notice("Pod", look.pod.key, look.pod.uid, type_, reason.value, message)
