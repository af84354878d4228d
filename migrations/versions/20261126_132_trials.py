"""Plans that may be tried first, once per rider."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261126_132"
down_revision: str | None = "20261126_131"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("subscription_plan", sa.Column("trial_days", sa.SmallInteger(), nullable=True))
    op.create_check_constraint(op.f("ck_subscription_plan_trial"), "subscription_plan", "trial_days BETWEEN 1 AND 366")
    op.add_column(
        "subscription_period", sa.Column("trial", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.drop_constraint(op.f("ck_subscription_period_granted"), "subscription_period", type_="check")
    op.create_check_constraint(
        op.f("ck_subscription_period_granted"),
        "subscription_period",
        "(price_minor = 0) = (trial OR granted_by IS NOT NULL)",
    )
    op.create_check_constraint(
        op.f("ck_subscription_period_trial"), "subscription_period", "NOT trial OR number = 1 AND granted_by IS NULL"
    )
    op.create_table(
        "subscription_trial",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("plan_code", sa.String(length=32), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["app_user.id"], name=op.f("fk_subscription_trial_user_id_app_user")),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscription.id"], name=op.f("fk_subscription_trial_subscription_id_subscription")
        ),
        sa.PrimaryKeyConstraint("user_id", "plan_code", name=op.f("pk_subscription_trial")),
        sa.UniqueConstraint("subscription_id", name=op.f("uq_subscription_trial_subscription_id")),
    )


def downgrade() -> None:
    op.drop_table("subscription_trial")
    op.drop_constraint(op.f("ck_subscription_period_trial"), "subscription_period", type_="check")
    op.drop_constraint(op.f("ck_subscription_period_granted"), "subscription_period", type_="check")
    # A trial is told as a gift of the rider to themselves: the old rule knows nothing else that is free.
    op.execute(
        "UPDATE subscription_period p SET granted_by = s.user_id FROM subscription s"
        " WHERE s.id = p.subscription_id AND p.trial"
    )
    op.create_check_constraint(
        op.f("ck_subscription_period_granted"),
        "subscription_period",
        "(price_minor = 0) = (granted_by IS NOT NULL)",
    )
    op.drop_column("subscription_period", "trial")
    op.drop_constraint(op.f("ck_subscription_plan_trial"), "subscription_plan", type_="check")
    op.drop_column("subscription_plan", "trial_days")
