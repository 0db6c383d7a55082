"""POST /buy with a rate limit: 429 for who asks too often, and for nobody else."""

from tests.contract.conftest import ADMIN, Api, StartApi, problem_of


def purchases_of(api: Api) -> dict[str, int]:
    counted: dict[str, int] = api.get("/metrics?format=json").get_json()["purchases"]
    return {outcome: count for outcome, count in counted.items() if count}


def test_without_the_setting_nobody_is_turned_away(api: Api) -> None:
    api.open_event(tickets=100)
    assert [api.buy().status_code for _ in range(60)] == [201] * 60


def test_who_asks_too_often_is_told_when_to_ask_again(start_api: StartApi) -> None:
    api = start_api(rate_limit_per_s=0.01, rate_limit_burst=3)
    api.open_event(tickets=100)
    answers = [api.buy() for _ in range(5)]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 429, 429]
    assert problem_of(answers[-1]) == (429, "rate-limited")
    assert 90 <= int(answers[-1].headers["Retry-After"]) <= 100
    assert purchases_of(api) == {"sold": 3, "rate_limited": 2}
    assert api.state().sold == 3


def test_each_address_behind_a_trusted_proxy_has_its_own_limit(start_api: StartApi) -> None:
    api = start_api(rate_limit_per_s=0.01, rate_limit_burst=1)
    api.open_event(tickets=100)
    for number in range(10):
        sent = {"X-Forwarded-For": f"198.51.100.1, 203.0.113.{number}"}
        assert [api.post("/buy/1", headers=sent).status_code for _ in range(2)] == [201, 429]


def test_an_address_that_is_no_trusted_proxy_is_not_believed(start_api: StartApi) -> None:
    api = start_api(rate_limit_per_s=0.01, rate_limit_burst=1, forwarded_allow_ips="10.0.0.1")
    api.open_event(tickets=100)
    codes = [api.post("/buy/1", headers={"X-Forwarded-For": f"203.0.113.{number}"}).status_code for number in range(5)]
    assert codes == [201, 429, 429, 429, 429]


def test_nothing_but_purchases_is_limited(start_api: StartApi) -> None:
    api = start_api(rate_limit_per_s=0.01, rate_limit_burst=1)
    api.open_event(tickets=100)
    purchase_id = api.bought()["purchase_id"]
    assert api.buy().status_code == 429
    for _ in range(5):
        assert api.get(f"/tickets/{purchase_id}").status_code == 202
        assert api.get("/events/1").status_code == 200
        assert api.get("/admin/audit", headers=ADMIN).status_code == 200
