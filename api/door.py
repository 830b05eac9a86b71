"""The way of a request through the door: images stored, job recorded, result waited for."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from api.add_ons import choose_add_ons
from api.answers import processing
from api.config import ApiSettings
from api.dialects import DIALECTS, V3, Dialect, Kind
from api.enhance import Styles, enhance
from api.errors import InvalidFields, RepeatedKey, TooManyJobs, Unavailable, UnknownModel
from api.inputs import Inputs
from api.metrics import SUBMISSIONS
from api.repeats import digest
from api.requests import ImageRequest
from api.terms import NOWHERE, Place, Wishes
from api.waiting import Waiting
from shared.add_ons import AddOns
from shared.egress import Guard
from shared.jobs import Job, JobRecord, JobState
from shared.ledger.deliveries import Deliveries
from shared.ledger.estimates import Load
from shared.ledger.orders import Orders
from shared.ledger.pauses import Pauses
from shared.ledger.places import Standing, read_standing
from shared.ledger.receipts import Outcome, Receipt, Submission
from shared.ledger.submissions import Submissions
from shared.models import ModelCard, Registry
from shared.object_store import ObjectStore
from shared.outcome import outcome
from shared.schedulers import Choice, UnknownScheduler, choose, fitting
from shared.tenants import Tenant

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Door:
    """Everything a route needs to answer for a job."""

    settings: ApiSettings
    registry: Registry
    model: ModelCard
    """What requests that name no model run."""
    add_ons: AddOns
    styles: Styles
    submissions: Submissions
    deliveries: Deliveries
    orders: Orders
    pauses: Pauses
    waiting: Waiting
    store: ObjectStore
    guard: Guard

    async def submit(
        self,
        fields: dict[str, Any],
        tenant: Tenant,
        dialect: Dialect,
        kind: Kind,
        wishes: Wishes,
    ) -> tuple[JobRecord, Place]:
        """Accept a request for images; where its job stands when it ends or the wait does.

        Empties `fields`.
        """
        # Without a name for the job here: its base64 would be kept while the caller waits.
        return await self.take(
            self._job(fields, tenant, dialect, kind), fields, tenant, kind, wishes
        )

    async def take(
        self, job: Job, fields: dict[str, Any], tenant: Tenant, kind: str, wishes: Wishes
    ) -> tuple[JobRecord, Place]:
        """Accept the job that these fields ask for; as `submit`."""
        job = await self._inputs.keep(job)
        asked = await digest(fields, job.dialect, kind) if wishes.idempotency_key else ""
        submission = self._submission(job, asked, tenant, wishes)
        fields.clear()  # megabytes of base64, perhaps, that would be kept while the caller waits
        receipt = await self.submissions.submit(submission)
        SUBMISSIONS.labels(receipt.outcome).inc()
        if receipt.outcome is not Outcome.ACCEPTED:
            await self._inputs.discard(job)
        _refuse(receipt, tenant)
        try:
            seconds = self.patience(wishes.wait, webhook=job.webhook is not None)
            place = _place(receipt)
            if seconds <= 0 and place.standing.waits:
                record = _accepted(job, receipt)
            else:
                record = await self._wait(receipt.job_id, tenant, seconds)
                place = await self.place(record)
            # What its tenant's limit or an operator holds back says nothing of how others come out.
            is_free = tenant.most_running is None and not place.load.is_paused
            if not record.state.is_final and is_free:
                self.submissions.expect(record.job.id, place.expectation(record))
            return record, place
        except Exception:
            log.exception("accepted, and then no answer", extra={"job_id": receipt.job_id})
            if receipt.outcome is Outcome.REPEATED:  # of the first job nothing is known here
                raise Unavailable from None
            # Accepted: an error would make the caller send the job a second time.
            standing = Standing(ahead=receipt.waiting, turns=receipt.waiting, waits=True)
            return _accepted(job, receipt), Place(standing, Load(receipt.waiting))

    async def try_out(
        self, fields: dict[str, Any], tenant: Tenant, dialect: Dialect, kind: Kind
    ) -> tuple[Job, Load]:
        """What `submit` would accept, and how busy its pool is; nothing is stored or recorded."""
        job = self._job(fields, tenant, dialect, kind)
        await self._inputs.check(job)
        return job, await self.submissions.load(job.pool)

    def _job(self, fields: dict[str, Any], tenant: Tenant, dialect: Dialect, kind: Kind) -> Job:
        """The job in these fields; its images are still as they came."""
        defaults = {"output_format": self.settings.output_format}
        request = ImageRequest.read(defaults | fields, dialect, kind)
        card = self.card(request.model_id) if dialect.names_model else self.model
        job = request.to_job(
            tenant=tenant.tenant,
            card=card,
            dialect=dialect,
            scheduler=_scheduler(request, card),
            determinism=self.settings.determinism,
            added=choose_add_ons(
                request.lora_model,
                request.lora_strength,
                request.embeddings_model,
                request.vae,
                card=card,
                add_ons=self.add_ons,
            ),
        )
        by_model = self.registry.enhancer is not None
        return enhance(job, request, dialect, self.styles, by_model=by_model)

    def card(self, model_id: object) -> ModelCard:
        """The model that a caller names; raises UnknownModel."""
        if not isinstance(model_id, str) or (card := self.registry.get(model_id)) is None:
            raise UnknownModel(ascii(model_id).strip("'")[:80])
        return card

    def _submission(self, job: Job, asked: str, tenant: Tenant, wishes: Wishes) -> Submission:
        return Submission(
            job,
            weight=tenant.weight,
            most_live=tenant.most_live,
            most_waiting=self.settings.most_waiting,
            idempotency_key=wishes.idempotency_key,
            digest=asked,
            cancel_after=wishes.cancel_after,
            most_running=tenant.most_running,
            shed_after=self.settings.shed_after,
        )

    async def _wait(self, job_id: int, tenant: Tenant, seconds: float) -> JobRecord:
        """The job when it ends, or as it is after so many seconds."""
        # Listening comes before looking: what ends in between is seen.
        with self.waiting.for_job(job_id) as finished:
            record = await self._find(job_id, tenant)
            if seconds <= 0 or record.state.is_final:
                return record
            with suppress(TimeoutError):
                await asyncio.wait_for(finished.wait(), seconds)
        return await self._find(job_id, tenant)

    async def _find(self, job_id: int, tenant: Tenant) -> JobRecord:
        record = await self.submissions.find(job_id, tenant.tenant)
        if record is None:
            raise LookupError(f"job {job_id} was accepted and is gone")
        return record

    async def place(self, record: JobRecord) -> Place:
        """Where the job stands now; one that is over, nowhere."""
        if record.state.is_final:
            return NOWHERE
        standing, load = await self.submissions.place(record)
        if not standing.waits:  # it is one of those that run, and may be since it was read
            load = replace(load, running=max(0, load.running - 1))
        return Place(standing, load)

    def answer(self, record: JobRecord, place: Place) -> dict[str, Any]:
        """The job as it stands, in the public API's words."""
        if record.state.is_final:
            return outcome(record, self.store.links)
        dialect = DIALECTS.get(record.job.dialect, V3)  # nothing is fetched by POST below /v1
        return processing(record, place.eta(record), dialect, self.settings.public_url)

    @property
    def _inputs(self) -> Inputs:
        return Inputs(self.store, self.guard, self.settings.image_bytes)

    def patience(self, asked: float | None, *, webhook: bool) -> float:
        """Seconds to wait for a result; `asked` by the caller or None."""
        if asked is not None:
            return min(asked, self.settings.longest_wait.total_seconds())
        return 0 if webhook else self.settings.sync_wait.total_seconds()


def _accepted(job: Job, receipt: Receipt) -> JobRecord:
    """An accepted job, without asking the ledger again."""
    return JobRecord(
        # Where it was a repeat, the first one's.
        job=job if job.id == receipt.job_id else job.model_copy(update={"id": receipt.job_id}),
        state=JobState.QUEUED,
        generation=1,
        attempts=0,
        created=receipt.created,
    )


def _place(receipt: Receipt) -> Place:
    """Where a job stood when it was accepted; nowhere, if that was not read."""
    if receipt.standing is None or receipt.load is None:
        return NOWHERE
    return Place(read_standing(receipt.standing), receipt.load)


def _refuse(receipt: Receipt, tenant: Tenant) -> None:
    match receipt.outcome:
        case Outcome.CONFLICT:
            raise RepeatedKey
        case Outcome.TENANT_FULL:
            load = receipt.load or Load(receipt.waiting)
            retry_after = int(load.before(0).eta)
            raise TooManyJobs(tenant.most_live, retry_after=retry_after)
        case Outcome.FULL | Outcome.BEHIND | Outcome.COLLISION:
            raise Unavailable


def _scheduler(request: ImageRequest, card: ModelCard) -> Choice:
    try:
        return choose(
            request.scheduler,
            card.scheduler,
            fits=fitting(card.family, request.start),
            karras=request.use_karras_sigmas,
            algorithm=request.algorithm_type,
        )
    except UnknownScheduler as error:
        raise InvalidFields.of("scheduler", str(error)) from None
